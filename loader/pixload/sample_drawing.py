"""Draws one women's boot, seen from its side, as a small studio photograph.

A boot has its own coordinates: x runs from the heel (0) to the toe (1), y from
the ground (0) upwards, so one unit is the length of the foot. A `View` maps
them to pixels. Shapes are filled at twice the size, which smooths their edges;
light, leather and noise are computed at the final size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

SIZE = 400
SUPERSAMPLING = 2

SHAFT_HEIGHTS = {"ankle": 0.66, "mid-calf": 1.02, "knee-high": 1.45, "over-the-knee": 2.0}
HEEL_HEIGHTS = {"flat": 0.06, "block": 0.24, "stiletto": 0.4, "wedge": 0.28}
SOLE_HEIGHTS = {"thin": 0.025, "platform": 0.15, "lug": 0.1}
TOE_PROFILES = {
    "round": [(1.0, 0.03), (1.03, 0.1), (1.0, 0.18), (0.9, 0.24)],
    "pointed": [(1.2, 0.015), (1.19, 0.035), (1.06, 0.085), (0.92, 0.15)],
    "square": [(1.07, 0.01), (1.08, 0.08), (1.07, 0.15), (1.05, 0.165), (0.9, 0.2)],
}
COLORS = {
    "black": (0.11, 0.105, 0.11),
    "brown": (0.36, 0.21, 0.12),
    "tan": (0.76, 0.56, 0.35),
    "red": (0.68, 0.09, 0.12),
    "navy": (0.08, 0.11, 0.26),
    "gray": (0.5, 0.5, 0.52),
    "white": (0.89, 0.88, 0.85),
    "green": (0.17, 0.33, 0.2),
}
RUBBER, GUM, CREAM = (0.09, 0.085, 0.08), (0.5, 0.33, 0.19), (0.86, 0.82, 0.72)
BRASS, STEEL = (0.84, 0.78, 0.62), (0.35, 0.35, 0.37)

#: The names that each attribute of a boot is drawn from.
VOCABULARY = {
    "shaft": tuple(SHAFT_HEIGHTS),
    "heel": tuple(HEEL_HEIGHTS),
    "toe": tuple(TOE_PROFILES),
    "color": tuple(COLORS),
    "pattern": ("plain", "snake", "fringe", "studded", "two-tone", "laced"),
    "sole": tuple(SOLE_HEIGHTS),
}


@dataclass(frozen=True)
class Boot:
    """The attributes of a boot, each a name of `VOCABULARY`."""

    shaft: str
    heel: str
    toe: str
    color: str
    pattern: str
    sole: str

    @classmethod
    def random(cls, rng: np.random.Generator) -> Boot:
        """Draw every attribute evenly and independently of the others."""
        return cls(**{name: words[rng.integers(len(words))] for name, words in VOCABULARY.items()})


class Last:
    """The shape of a boot: its heights, and its sole, front and back as curves (n, 2)."""

    def __init__(self, boot: Boot, rng: np.random.Generator):
        self.sole = SOLE_HEIGHTS[boot.sole]
        self.heel = heel = HEEL_HEIGHTS[boot.heel] * rng.uniform(0.92, 1.08)
        self.seat = self.sole + heel
        self.top = self.seat + SHAFT_HEIGHTS[boot.shaft] * rng.uniform(0.96, 1.04)
        calf, lean = rng.uniform(-0.02, 0.04), 0.12 * heel

        toe = TOE_PROFILES[boot.toe]
        arch = [(0.02, heel), (0.24, 0.9 * heel), (0.45, 0.4 * heel), (0.68, 0), (0.88, 0), toe[0]]
        vamp = [(0.74, 0.29 + 0.2 * heel), (0.6, 0.36 + 0.45 * heel), (0.48, 0.45 + 0.75 * heel)]
        shin = [(0.42, 0.6), (0.45, 0.8), (0.495 + calf, 1.05), (0.49 + calf, 1.4), (0.58 + calf, 2.3)]
        counter = [(0.02, 0), (-0.005, 0.12), (0.02, 0.28)]
        leg = [(0.055, 0.45), (0.04, 0.62), (-0.03 - calf, 1.0), (-0.01 - calf, 1.4), (-0.07 - calf, 2.3)]
        # A higher heel lifts the leg and tips it forward.
        shin, leg = ([(x + lean, y + heel) for x, y in curve] for curve in (shin, leg))
        counter = [(x, y + heel) for x, y in counter]
        lift = (0, self.sole)
        self.bottom = smooth(arch) + lift
        self.front = cut(smooth([*toe, *vamp, *shin]) + lift, self.top)
        self.back = cut(smooth([*counter, *leg]) + lift, self.top)

    def front_at(self, y: float) -> float:
        """Return the x of the front of the shaft at a height."""
        return float(np.interp(y, self.front[:, 1], self.front[:, 0]))

    def back_at(self, y: float) -> float:
        """Return the x of the back of the shaft at a height."""
        return float(np.interp(y, self.back[:, 1], self.back[:, 0]))

    def opening(self, shrink: float = 1.0) -> np.ndarray:
        """Return the ellipse in which the shaft ends, seen from a little above."""
        left, right = self.back[-1, 0], self.front[-1, 0]
        turn = np.linspace(0, 2 * np.pi, 40)
        radius = (right - left) / 2 * shrink
        return radius * np.column_stack([np.cos(turn), 0.11 * np.sin(turn)]) + ((left + right) / 2, self.top)

    def upper(self) -> list[np.ndarray]:
        """Return the leather part as polygons."""
        return [np.vstack([self.bottom, self.front, self.back[::-1]]), self.opening()]

    def welt(self) -> np.ndarray:
        """Return the sole as a polygon: a band below the whole foot."""
        below = np.maximum(self.bottom - (0, self.sole), (-9, 0))
        return np.vstack([self.bottom, below[::-1]])

    def grooves(self, kind: str) -> list[np.ndarray]:
        """Return the gaps between the lugs; a slender heel has none."""
        first = 0.05 if kind in ("flat", "wedge") else 0.5
        gap = [(0, -0.05), (0.03, -0.05), (0.03, 0.045), (0, 0.045)]
        return [np.add(gap, (x, 0)) for x in np.arange(first, 1.2, 0.075)]

    def heel_block(self, kind: str) -> np.ndarray:
        """Return the polygon between the foot's seat and the ground."""
        breast = {"flat": 0.3, "block": 0.29, "stiletto": 0.24, "wedge": 0.8}[kind]
        seat = self.bottom[self.bottom[:, 0] <= breast] - (0, 0.6 * self.sole)
        if kind == "stiletto":
            front = smooth([seat[-1], (0.15, 0.72 * self.seat), (0.112, 0.4 * self.seat), (0.1, 0)])
            back = smooth([(0.06, 0), (0.055, 0.45 * self.seat), seat[0]])
            return np.vstack([seat, front, back])
        return np.vstack([seat, (breast - 0.02, 0), (0.035, 0)])


class View:
    """How the camera sees the boot: an affine map from boot coordinates to pixels."""

    def __init__(self, last: Last, rng: np.random.Generator):
        angle = np.radians(rng.normal(0, 2.5))
        turn = rng.uniform(0.92, 1.02) * (-1 if rng.random() < 0.25 else 1)
        cos, sin = np.cos(angle), np.sin(angle)
        # Pixels count y downwards, hence the minus.
        axes = np.array([[cos * turn, -sin * turn], [-sin, -cos]])
        corners = np.vstack([*last.upper(), last.heel_block("block")]) @ axes
        low, high = corners.min(axis=0), corners.max(axis=0)
        self.scale = SIZE * rng.uniform(0.82, 0.92) / float((high - low).max())
        self.axes = axes * self.scale
        shift = rng.uniform(-0.03, 0.03, 2) * SIZE
        self.origin = SIZE / 2 + shift - (low + high) / 2 * self.scale

    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the boot coordinates x and y of every pixel."""
        inverse = np.linalg.inv(self.axes)
        pixel = np.arange(SIZE) + 0.5
        column, row = pixel - self.origin[0], pixel[:, None] - self.origin[1]
        x, y = (column * inverse[0, axis] + row * inverse[1, axis] for axis in (0, 1))
        return x.astype(np.float32), y.astype(np.float32)

    def mask(self, *polygons: np.ndarray, without: Sequence[np.ndarray] = ()) -> np.ndarray:
        """Return how much of each pixel the polygons cover, 0 to 1."""
        image = Image.new("L", (SIZE * SUPERSAMPLING,) * 2)
        pen = ImageDraw.Draw(image)
        for fill, shapes in ((255, polygons), (0, without)):
            for shape in shapes:
                pixels = (np.asarray(shape) @ self.axes + self.origin) * SUPERSAMPLING
                pen.polygon(pixels.ravel().tolist(), fill=fill)
        return np.asarray(image.reduce(SUPERSAMPLING), np.float32) / 255


def smooth(points: list, steps: int = 10) -> np.ndarray:
    """Return the Catmull-Rom curve through some points."""
    p = np.array(points, float)
    p = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    a, b, c, d = p[:-3], p[1:-2], p[2:-1], p[3:]
    t = np.linspace(0, 1, steps, endpoint=False)[:, None, None]
    curve = b + t / 2 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * b - a - 3 * c + d)))
    return np.vstack([curve.swapaxes(0, 1).reshape(-1, 2), p[-2]])


def cut(curve: np.ndarray, top: float) -> np.ndarray:
    """Return the part of a rising curve below a height, ending exactly there."""
    below = curve[curve[:, 1] < top]
    return np.vstack([below, (np.interp(top, curve[:, 1], curve[:, 0]), top)])


def across(line: np.ndarray) -> np.ndarray:
    """Return the unit vectors at right angles to a line, to the left of its direction."""
    along = np.gradient(line, axis=0)
    return along[:, ::-1] * (-1, 1) / np.hypot(*along.T)[:, None]


def stroke(line: np.ndarray, width: float) -> np.ndarray:
    """Return a line of some width as a polygon."""
    side = across(line) * width / 2
    return np.vstack([line + side, (line - side)[::-1]])


def resized(plane: np.ndarray, size: int, how: Image.Resampling = Image.Resampling.BICUBIC) -> np.ndarray:
    """Return a plane of numbers at another size."""
    return np.asarray(Image.fromarray(plane.astype(np.float32)).resize((size, size), how))


def softened(mask: np.ndarray, radius: float) -> np.ndarray:
    """Return a mask blurred, at a quarter of its size: enough for what is smooth anyway."""
    small = resized(mask, SIZE // 4, Image.Resampling.BOX)
    reach = max(1, round(radius / 4))
    width = 2 * reach + 1
    # Three box filters come close to a Gaussian.
    for axis in (0, 1) * 3:
        padding = [(0, 0), (0, 0)]
        padding[axis] = (reach + 1, reach)
        total = np.cumsum(np.pad(small, padding, mode="edge"), axis=axis, dtype=np.float64).swapaxes(0, axis)
        small = ((total[width:] - total[:-width]) / width).swapaxes(0, axis)
    return small


def bell(distance: np.ndarray) -> np.ndarray:
    """Return 1 at distance 0, falling off as a Gaussian does."""
    return np.exp(-np.square(distance))


def tinted(rng: np.random.Generator, color: Sequence[float]) -> np.ndarray:
    """Return a color as this dye lot happens to show it."""
    return np.clip(np.array(color) * rng.normal(1, 0.07) + rng.normal(0, 0.012, 3), 0.03, 0.92)


class Photograph:
    """A canvas of red, green and blue planes, on which masks are painted, darkened and lit.

    `x` and `y` are the boot coordinates of every pixel.
    """

    def __init__(self, last: Last, rng: np.random.Generator):
        self.last, self.rng = last, rng
        self.view = View(last, rng)
        self.x, self.y = self.view.grid()
        self.canvas = np.ones((3, SIZE, SIZE), np.float32)

    def paint(self, mask: np.ndarray, color: Sequence[float]) -> None:
        """Lay a color over what is there."""
        self.canvas += mask * (np.array(color, np.float32)[:, None, None] - self.canvas)

    def darken(self, mask: np.ndarray, depth: float) -> None:
        """Take away light."""
        self.canvas *= 1 - depth * mask

    def bulge(self, mask: np.ndarray, depth: float, gloss: float) -> None:
        """Shade a part as if it bulged towards the camera, lit from the upper left."""
        radius = depth * self.view.scale
        # A quarter of the size: the slope of a pixel there is that of four here.
        down, right = np.gradient(softened(mask, radius) * (0.6 * radius))
        facing = 1 / np.sqrt(1 + down**2 + right**2)
        diffuse = np.clip((0.8 + 0.35 * right + 0.3 * down) * facing, 0, 1.2)
        glint = np.clip((0.93 + 0.3 * right + 0.2 * down) * facing, 0, 1) ** 24
        self.canvas *= 1 + mask * (resized(0.75 * diffuse, SIZE) - 0.65)
        self.canvas += mask * resized(gloss * glint, SIZE)

    def mottle(self, mask: np.ndarray, cells: int, depth: float) -> None:
        """Give a surface soft irregular blotches."""
        self.darken(mask * resized(self.rng.standard_normal((cells, cells)), SIZE), depth)

    def developed(self) -> Image.Image:
        """Return the image as a sensor sees it: with a cast of color and noise."""
        self.canvas *= self.rng.normal(1, 0.012, (3, 1, 1)).astype(np.float32)
        noise = self.rng.standard_normal(self.canvas.shape, np.float32)
        self.canvas += noise * np.float32(self.rng.uniform(0.004, 0.012))
        pixels = (np.clip(self.canvas, 0, 1) * 255).astype(np.uint8)
        return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def draw_studio(photo: Photograph) -> None:
    """Draw the background: white, a gray gradient, or colored paper on wall and floor."""
    rng = photo.rng
    row = np.linspace(0, 1, SIZE, dtype=np.float32)[:, None]
    style = rng.choice(3, p=(0.5, 0.3, 0.2))
    if style == 0:
        photo.canvas *= np.float32(rng.uniform(0.93, 1))
    elif style == 1:
        high, low = rng.uniform(0.72, 0.98, 2)
        photo.canvas *= high + (low - high) * row
    else:
        photo.paint(np.ones_like(photo.x), rng.uniform(0.72, 0.86) + rng.uniform(-0.07, 0.07, 3))
        photo.darken(1 / (1 + np.exp((rng.uniform(0.7, 0.8) - row) * 60)), 0.1)


def draw_shadow(photo: Photograph) -> None:
    """Darken the ground: softly around the boot, sharply where it stands."""
    middle = float(photo.last.bottom[-1, 0]) / 2
    aside = np.square((photo.x - middle) / (1.1 * middle))
    depth = photo.rng.uniform(0.4, 0.8)
    photo.darken(bell(aside) * bell((photo.y + 0.01) / 0.07), 0.5 * depth)
    photo.darken(bell(np.square(1.2 * aside)) * bell((photo.y + 0.005) / 0.02), 0.4 * depth)


def draw_sole(photo: Photograph, boot: Boot, dye: np.ndarray) -> None:
    """Draw the heel and the sole, a heel of leather if the sole is thin."""
    last, rng, view = photo.last, photo.rng, photo.view
    materials = (RUBBER, GUM, CREAM) if boot.sole == "platform" else (RUBBER,)
    rubber = tinted(rng, materials[rng.integers(len(materials))])
    grooves = last.grooves(boot.heel) if boot.sole == "lug" else ()
    heel = view.mask(last.heel_block(boot.heel), without=grooves)
    photo.paint(heel, dye * 0.7 if boot.sole == "thin" and boot.heel != "wedge" else rubber)
    photo.bulge(heel, 0.05, 0.15)
    welt = view.mask(last.welt(), without=grooves)
    photo.paint(welt, rubber)
    photo.bulge(welt, 0.03, 0.08)


def draw_upper(photo: Photograph, boot: Boot, dye: np.ndarray) -> None:
    """Draw the leather part, its folds at the ankle and the opening of the shaft."""
    last, rng, view = photo.last, photo.rng, photo.view
    mask = view.mask(*last.upper())
    photo.paint(mask, dye)
    if boot.pattern == "two-tone":
        color_vamp(photo, mask, boot.color)
    elif boot.pattern == "snake":
        lay_scales(photo, mask, dye)
    photo.mottle(mask, 24, 0.03)
    photo.mottle(mask, 90, 0.02)
    for fold in rng.uniform(0.34, 0.58, 3):
        bend = photo.y - last.seat - fold - rng.uniform(-0.4, 0.1) * (photo.x - 0.25)
        photo.darken(mask * bell(bend / 0.018), 0.14)
    photo.bulge(mask, 0.13, rng.uniform(0.06, 0.4))
    photo.darken(view.mask(stroke(last.bottom, 0.014)), 0.5)
    photo.paint(view.mask(last.opening(0.93)), dye * 0.3 + 0.02)


def color_vamp(photo: Photograph, mask: np.ndarray, color: str) -> None:
    """Give the vamp and the cuff another color, one that stands out; most of the boot keeps its own."""
    last, rng = photo.last, photo.rng
    others = [rgb for rgb in COLORS.values() if abs(sum(rgb) - sum(COLORS[color])) > 0.7]
    vamp = photo.x - 0.36 - 0.25 * (photo.y - last.sole)
    cuff = photo.y - last.top + 0.13
    part = np.clip(np.maximum(vamp, cuff) * photo.view.scale, 0, 1)
    photo.paint(mask * part, tinted(rng, others[rng.integers(len(others))]))


def lay_scales(photo: Photograph, mask: np.ndarray, dye: np.ndarray) -> None:
    """Cover the leather with scales, irregular saddles of them in a second tone."""
    rng = photo.rng
    density = rng.uniform(16, 20)
    a, b = (1.3 * photo.x + photo.y) * density, (1.3 * photo.x - photo.y) * density
    # A scale has one tone: that of its center.
    column, row = np.floor(a) / density, np.floor(b) / density
    warp = [rng.uniform(0, 6) for _ in range(4)]
    saddles = np.sin(8 * column + 2 * np.sin(7 * row + warp[0]) + warp[1])
    saddles = saddles + np.sin(8 * row + 2 * np.sin(7 * column + warp[2]) + warp[3]) > 0.2
    photo.paint(mask * saddles * 0.7, CREAM if dye.mean() < 0.45 else dye * 0.3)
    edge = np.minimum(np.abs(a - np.round(a)), np.abs(b - np.round(b)))
    photo.darken(mask * bell(edge / 0.14), 0.7)


def hang_fringe(photo: Photograph, dye: np.ndarray) -> None:
    """Hang strips of leather around the shaft."""
    last, rng, view = photo.last, photo.rng, photo.view
    start = last.top - 0.07
    length = max(0.34, 0.4 * (last.top - last.seat - 0.3))
    left, right = last.back_at(start) - 0.015, last.front_at(start) + 0.015
    edges = np.linspace(left, right, round((right - left) / 0.04))
    strips, gaps = [], []
    for x, following in pairwise(edges):
        sway, end = rng.normal(0, 0.012), start - length * rng.uniform(0.9, 1.05)
        tip = [(following + sway - 0.006, end), (x + sway + 0.006, end)]
        strips.append(np.array([(x, start), (following, start), *tip]))
        gaps.append(stroke(np.array([(x, start), (x + sway, end)]), 0.012))
    band = stroke(np.array([(left, start), (right, start)]), 0.045)
    mask = view.mask(*strips, band)
    photo.darken(np.roll(resized(softened(mask, 6), SIZE), 6, axis=0) * (1 - mask), 0.45)
    photo.paint(mask, dye * 1.08)
    photo.bulge(mask, 0.14, 0.05)
    photo.darken(view.mask(*gaps), 0.6)


def set_studs(photo: Photograph, dye: np.ndarray) -> None:
    """Set rows of metal studs into the shaft."""
    last, view = photo.last, photo.view
    turn = np.linspace(0, 2 * np.pi, 12)
    stud = 0.019 * np.column_stack([np.cos(turn), np.sin(turn)])
    offsets = [
        (x, y)
        for row, y in enumerate(np.arange(last.top - 0.08, last.seat + 0.24, -0.08))
        for x in np.arange(last.back_at(y) + 0.05 + 0.04 * (row % 2), last.front_at(y) - 0.03, 0.08)
    ]
    mask = view.mask(*(stud + offset for offset in offsets))
    photo.darken(np.roll(mask, 2, axis=0), 0.7)
    photo.paint(mask, STEEL if dye.mean() > 0.6 else BRASS)
    photo.paint(view.mask(*(0.45 * stud + offset + (-0.006, 0.006) for offset in offsets)), (1, 1, 0.97))


def lace_up(photo: Photograph, dye: np.ndarray) -> None:
    """Open the front of the boot and close it with crossed laces."""
    last, view = photo.last, photo.view
    top = min(last.top - 0.05, last.seat + photo.rng.uniform(0.9, 1.3))
    front = last.front[(last.front[:, 0] < 0.72) & (last.front[:, 1] < top)]
    length = np.append(0, np.cumsum(np.hypot(*np.diff(front, axis=0).T)))
    eyelets = np.arange(0.02, length[-1], 0.075)
    outer = np.column_stack([np.interp(eyelets, length, axis) for axis in front.T])
    inward = across(outer)
    inner = outer + 0.115 * inward
    photo.darken(view.mask(np.vstack([outer, (outer + 0.13 * inward)[::-1]])), 0.4)
    ends = [*zip(inner[:-1], outer[1:], strict=True), *zip(outer[:-1], inner[1:], strict=True)]
    mask = view.mask(*(stroke(np.array(pair), 0.024) for pair in ends))
    photo.darken(np.roll(mask, 2, axis=0), 0.5)
    photo.paint(mask, CREAM if dye.mean() < 0.5 else RUBBER)


DECORATIONS = {"fringe": hang_fringe, "studded": set_studs, "laced": lace_up}


def draw_boot(boot: Boot, rng: np.random.Generator) -> Image.Image:
    """Draw a boot from its side, in a studio of its own.

    Parameters
    ----------
    boot : Boot
        What to draw.
    rng : numpy.random.Generator
        Decides on everything else: camera, light, background, dye and noise.

    Returns
    -------
    PIL.Image.Image
        RGB, `SIZE` by `SIZE` pixels.
    """
    photo = Photograph(Last(boot, rng), rng)
    dye = tinted(rng, COLORS[boot.color])
    draw_studio(photo)
    draw_shadow(photo)
    draw_sole(photo, boot, dye)
    draw_upper(photo, boot, dye)
    if boot.pattern in DECORATIONS:
        DECORATIONS[boot.pattern](photo, dye)
    return photo.developed()
