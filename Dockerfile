# PostgreSQL of the distribution with PL/Python and Pixelplum: the steps are those of `make`.
FROM debian:bookworm-slim

RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
COPY . /opt/pixelplum
WORKDIR /opt/pixelplum
# Annoy is compiled here. By default it would use what this processor has, and end processes on another that has less.
ENV ANNOY_COMPILER_ARGS=-O3,-ffast-math,-fno-associative-math,-DANNOYLIB_MULTITHREADED_BUILD,-std=c++14
RUN tools/install.sh && ln -s /opt/pixelplum/.pix/venv/bin/pix /usr/local/bin/pix

ENV PIX_DSN="host=/var/run/postgresql dbname=pix user=postgres"
VOLUME /var/lib/pixelplum
EXPOSE 5432
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s CMD ["pg_isready", "-q", "-h", "127.0.0.1", "-d", "pix"]
STOPSIGNAL SIGINT
ENTRYPOINT ["tools/container.sh"]
