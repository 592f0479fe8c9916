"""All commands of `pix` in one story, in which each finds what it needs."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import click

from pixload.cli import main

OWN_SERVER = {"server start", "server stop", "server status", "server destroy", "server python-path"}
"""They manage the private server, and know no other."""

OWNERS = {"migrate", "demo"}
"""They need a superuser."""

STORY = {
    "migrate": "",
    "doctor": "",
    "algorithms": "metric",
    "sample": "{folder}/drawn --items 3",
    "load images": "{boots}/images --label-set kind",
    "load metadata": "{boots}/metadata.json.gz",
    "load labels": "{boots}/labels.csv",
    "load features": "{folder}/features.b --model amazon --dimensions 3",
    "load interactions": "{folder}/votes.jsonl",
    "model import": "mini_inception",
    "model list": "",
    "model layers": "mini_inception",
    "model feature-maps": "mini_inception {image} {folder}/maps --layer functional_1/concatenate_1/concat:0 -k 1",
    "model default": "mini_inception",
    "extract": "--chunk-size 20",
    "model quantize": "mini_inception --as small --calibrate 10 --force",
    "model fit-metadata": "rich --base mini_inception",
    "model refresh-metadata": "rich",
    "nearest": "{item} {other} --model mini_inception",
    "index build": "fast --algorithm annoy",
    "index refresh": "fast",
    "index list": "",
    "index check": "fast --queries 5",
    "graph": "-k 3",
    "duplicates": "--max-distance 0.001",
    "cluster fit": "looks -k 3 --n-init 1",
    "cluster refresh": "looks",
    "cluster list": "",
    "cluster show": "looks --labels heel",
    "map fit": "everything --algorithm pca",
    "map refresh": "everything",
    "map list": "",
    "pca": "--components 4",
    "bandit default": "looks",
    "vote": "ann {item} --like",
    "next": "ann -k 2",
    "undo": "ann {item}",
    "bandit arms": "user0",
    "bandit priors": "",
    "bandit rebuild": "",
    "bandit half-life": "none",
    "bandit skips": "",
    "bandit simulate": "random --truth heel --users 2 --votes 5 --liked-labels 1 --keep",
    "bandit evaluate": "greedy",
    "users train": "--algorithm sgd_log",
    "recommend": "user0 -k 3",
    "explain": "user0 {item}",
    "users recommend": "-k 3",
    "users dimensions": "user0",
    "users select": "first --size 10 --algorithm nearest --balance none --repeats 1",
    "users ranking": "first",
    "users rules": "",
    "users evaluate": "first popularity",
    "classifier train": "heels --label-set heel",
    "classifier show": "heels",
    "classifier list": "",
    "classify": "--item {item} --classifier heels",
    "report": "{folder}/report.html",
    "plot map": "everything {folder}/map.png",
    "plot cluster": "looks 1 {folder}/cluster.png",
    "classifier drop": "heels",
    "map drop": "everything",
    "cluster drop": "looks",
    "index drop": "fast",
    "model drop": "small",
    "demo": "--images {folder}/kinds",
    "psql": "-- -XAtc SELECT",
}
"""The arguments of each command, in an order in which they succeed in a database that is empty at first."""


def names(command: click.Command = main, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Name every command."""
    if not isinstance(command, click.Group):
        yield " ".join(path)
        return
    for name in command.list_commands(None):
        yield from names(command.get_command(None, name), (*path, name))


def story(boots: Path, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Write the files that the story needs into a folder; yield each command's name, and all its words."""
    items = sorted(path.stem for path in (boots / "images").iterdir())
    (folder / "features.b").write_bytes(
        b"".join(item.encode().ljust(10)[:10] + struct.pack("<3f", 1, *divmod(n, 7)) for n, item in enumerate(items))
    )
    for number, item in enumerate(items):
        kind = folder / "kinds" / f"kind {number % 2}"
        kind.mkdir(parents=True, exist_ok=True)
        (kind / f"{item}.jpg").symlink_to(boots / "images" / f"{item}.jpg")
    votes = [
        {"user_id": f"user{user}", "item_id": item, "liked": number % 2 == user % 2}
        for user in range(4)
        for number, item in enumerate(items[:40])
    ]
    (folder / "votes.jsonl").write_text("\n".join(map(json.dumps, votes)))
    positions = {
        "boots": boots, "folder": folder, "item": items[0], "other": items[1],
        "image": boots / "images" / f"{items[0]}.jpg",
    }  # fmt: skip
    for name, arguments in STORY.items():
        yield name, [*name.split(), *(word.format(**positions) for word in arguments.split())]
