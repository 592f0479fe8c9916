"""Images to vectors: decoding, engines, layers, quantization; and what is appended of metadata."""
