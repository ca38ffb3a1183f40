"""Parts of real photos, labelled by the photo that they are cut from: class folders for training, and others for the test.

The photos are those of Debian's packages `lomiri-wallpapers-16.04`, `lomiri-wallpapers-20.04` and `mate-backgrounds` (their drawings are left
out). `apt-get install` puts them below /usr/share/backgrounds; `apt-get download` and `dpkg -x` anywhere else.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

__all__ = ["PACKAGES", "PhotoParts"]

PACKAGES = ("lomiri-wallpapers-16.04", "lomiri-wallpapers-20.04", "mate-backgrounds")
_NAMES = (
    *("Bridge_by_Sander_Klootwijk", "Dragonfly_by_Bolly", "Kleiber_by_Lukas_Baubkus", "Picture_0B_by_freespace", "Picture_1A_by_freespace"),
    *(
        "Wine_by_Jakkub_Mede",
        "aitzgorri_by_Aitzol_Berasategi",
        "free_by_Peter_Nerlich",
        "friends_by_Aitzol_Berasategi",
        "greentock_by_Peter_Nerlich",
    ),
    *("life_by_Aitzol_Berasategi", "picosdeeuropa_by_Aitzol_Berasategi", "seeding_by_Clements_Engelhardt", "sunset_by_Aitzol_Berasategi"),
    *(
        "Aqua",
        "Blinds",
        "Dune",
        "FreshFlower",
        "Garden",
        "GreenMeadow",
        "LadyBird",
        "RainDrops",
        "Storm",
        "TwoWings",
        "Wood",
        "YellowFlower",
    ),
)
_SIDE = 384  # of a part
_SHORTER = 4 * _SIDE  # of a photo, where it is larger


@dataclass(frozen=True)
class PhotoParts:
    """`root/train/photo/number.jpg` and `root/test/photo/number.jpg`, 384x384, quality 90."""

    root: Path
    photos: int

    @classmethod
    def find(cls, below: Path) -> list[Path]:
        """The photos that are there, in the order of their names."""
        found = {path.stem: path for path in sorted(below.rglob("*.jpg"))}
        return [found[name] for name in _NAMES if name in found]

    @classmethod
    def prepare(cls, folder: Path, photos: list[Path]) -> PhotoParts:
        """Cut the photos, or use what an earlier run left there.

        Every other column of parts belongs to the test, so no pixel is in both. Parts of a column overlap.
        """
        root = folder / f"photo-parts-{len(photos)}"
        done = folder / f"{root.name}.complete"
        if done.exists():
            return cls(root, len(photos))
        shutil.rmtree(root, ignore_errors=True)
        for path in photos:
            with Image.open(path) as opened:
                photo = opened.convert("RGB")
            scale = min(1.0, _SHORTER / min(photo.size))
            photo = photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.LANCZOS)
            for column in range(photo.width // _SIDE):
                kind, step = ("test", _SIDE // 2) if column % 2 else ("train", _SIDE // 3)
                target = root / kind / path.stem
                target.mkdir(parents=True, exist_ok=True)
                for top in range(0, photo.height - _SIDE + 1, step):
                    part = photo.crop((column * _SIDE, top, (column + 1) * _SIDE, top + _SIDE))
                    part.save(target / f"{column:02}-{top:05}.jpg", quality=90)
        done.touch()
        return cls(root, len(photos))
