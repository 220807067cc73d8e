"""Batches of twins for the frame encoder, each a pure function of seed and step.

Every pair holds a genuine crop and a manipulated one under the same geometry and the same
degradation. Because a batch depends on nothing but (seed, step), a resumed run sees exactly what an
uninterrupted one would have seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.utils.data import Dataset

from dfd_batch.outcomes import UsageError
from dfd_batch.training import degrade, forge, redraw, style
from dfd_batch.training.config import Operation, TrainConfig
from dfd_batch.training.pools import Image, Pool, misfit
from dfd_batch.training.selection import (
    beside_strangers,
    pairs_of,
    training_pools,
    used_of,
)
from dfd_batch.training.sources.sample import examples

RENDERED_SHARE = 0.1
"""Pseudo-fakes that carry a generator's traces all over instead of a blend."""
REDRAWN_SHARE = 0.12
"""Pseudo-fakes that an autoencoder has drawn as a whole."""
POLISHED_SHARE = 0.15
"""Pseudo-fakes without skin texture, as diffusion models draw it."""
SWAP_SHARE = 0.35
REDRAWN_SOURCE_SHARE = 0.35
"""Blended faces that come from an autoencoder, as those of most face swaps do."""
GENERATED_DONOR_SHARE = 0.15
"""Swapped-in faces of nobody, wholly generated."""
LABELLED_DONOR_SHARE = 0.3
"""Swapped-in faces that are labelled fakes themselves, drawn by a real face swap."""
REBLENDED_SHARE = 0.4
"""Labelled pairs whose fake is laid into its twin anew."""
VIVID_SHARE = 0.4
"""Pairs of generated and genuine faces with the strong contrast of today's generators, both."""
UNEQUAL_SHARE = {"whole": 0.5, "labelled": 0.45, "blend": 0.4}
"""Pairs whose genuine twin is not the sharper one, by kind."""
BENT_SHARE = 0.2
"""Twins bent alike: grimaces that none of the genuine media show are no clue then."""
FORGED_FROM = {"portraits": 0.4, "clips": 0.25, "dfdc": 0.35}
"""Where the genuine faces of pseudo-fakes come from; a pool not named here counts OTHER_POOL."""
BESIDE_GENERATED = {"portraits": 0.7, "clips": 0.1, "dfdc": 0.2}
"""Where the genuine faces beside generated ones come from: mostly as well lit as those."""
OTHER_POOL = 0.35


@dataclass(frozen=True)
class Twins:
    """A genuine and a manipulated crop (S, S, 3)."""

    genuine: Image
    fake: Image


class PairBatches(Dataset[tuple[Tensor, Tensor]]):
    """Batch `step` -> crops uint8 (2n, S, S, 3), genuine and fake alternating, and labels (2n,).

    Only training pools are opened here; development data cannot leak in. What a pool is for shows
    in its index: genuine faces are forged, a fake whose group has a genuine face is a labelled
    pair with it, a swap without its source one with somebody else's, any other fake counts as
    generated. Of several processes each takes every so manieth pair: neighbours are of one kind, so
    that each share holds the whole batch's mixture.
    """

    def __init__(self, config: TrainConfig, n_steps: int, rank: int = 0, world: int = 1) -> None:
        self._config = config
        self._n_steps = n_steps
        self._rank, self._world = rank, world
        n = config.batch_pairs
        self._labelled_places = sum((k + 0.5) / n < config.labelled_share for k in range(n))
        self._pools = training_pools(config.work)
        used = {name: used_of(name, pool, config) for name, pool in self._pools.items()}
        self._genuine = {
            name: rows[self._pools[name].labels[rows] == 0] for name, rows in used.items()
        }
        self._pairs: list[tuple[str, int, int]] = []
        self._generated_rows: list[tuple[str, int]] = []
        for name, pool in self._pools.items():
            pairs, alone = pairs_of(pool, used[name])
            strangers = beside_strangers(pool, used[name], alone)
            self._pairs += [(name, genuine, fake) for genuine, fake in pairs + strangers]
            paired = {fake for _, fake in strangers}
            self._generated_rows += [(name, row) for row in alone if row not in paired]
        self._beside = BESIDE_GENERATED
        drawn = {
            name: redraw.read(config.work, name, pool, config.media_mark)
            for name, pool in self._pools.items()
        }
        self._redrawn = {name: faces for name, faces in drawn.items() if faces is not None}
        if not any(len(rows) for rows in self._genuine.values()):
            raise UsageError(_no_genuine(self._pools, config))

    def __len__(self) -> int:
        return self._n_steps

    @property
    def n_labelled(self) -> int:
        """Labelled fakes with a genuine face of their group."""
        return len(self._pairs)

    @property
    def n_generated(self) -> int:
        """Fakes without one."""
        return len(self._generated_rows)

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        cv2.setNumThreads(1)
        crops = []
        for k in range(self._rank, self._config.batch_pairs, self._world):
            rng = np.random.default_rng([self._config.seed, step, k])
            twins = self._twins(step, k, rng)
            crops += [twins.genuine, twins.fake]
        return torch.from_numpy(np.stack(crops)), torch.tensor([0.0, 1.0] * (len(crops) // 2))

    def _twins(self, step: int, k: int, rng: Generator) -> Twins:
        # Kinds have fixed places in the batch, so that every batch holds the same mixture.
        if k < self._labelled_places and self._pairs:
            return self._labelled(step * self._labelled_places + k, rng)
        at = (k + 0.5) / self._config.batch_pairs
        if at > 1 - self._config.generated_share and self._generated_rows:
            return self._generated(rng)
        return self._forged(rng)

    def labelled_pair(self, place: int) -> tuple[str, int, int]:
        """Return (pool, genuine row, fake row) at a place in the run's endless order."""
        epoch, offset = divmod(place, len(self._pairs))
        order = np.random.default_rng([self._config.seed, 7, epoch]).permutation(len(self._pairs))
        return self._pairs[int(order[offset])]

    def _labelled(self, place: int, rng: Generator) -> Twins:
        name, genuine, fake = self.labelled_pair(place)
        pool = self._pools[name]
        twins = np.array(pool.patches[genuine]), np.array(pool.patches[fake])
        of_one = pool.groups[genuine] == pool.groups[fake]
        if rng.random() < REBLENDED_SHARE and self._does("reblended") and of_one:
            made = forge.reblended(twins[0], twins[1], pool.landmarks[genuine], rng)
            twins = (made.genuine, made.fake) if made else twins
        return self._finish(*twins, float(pool.canonical_px[genuine]), rng, "labelled")

    def _forged(self, rng: Generator) -> Twins:
        kind = rng.random()
        polish = RENDERED_SHARE <= kind < RENDERED_SHARE + POLISHED_SHARE and self._does("polished")
        # A soft picture has no texture to lose.
        name, i = self._draw_genuine(BESIDE_GENERATED if polish else FORGED_FROM, rng)
        pool = self._pools[name]
        image, points = np.array(pool.patches[i]), pool.landmarks[i]
        again = self._again(name, i) if rng.random() < REDRAWN_SOURCE_SHARE else None
        if kind < RENDERED_SHARE and self._does("rendered"):
            made = forge.rendered(image, rng)
        elif polish:
            made = forge.polished(image, rng)
        elif kind > 1 - REDRAWN_SHARE and self._does("redrawn") and name in self._redrawn:
            made = forge.redrawn(image, self._again(name, i), rng)
        elif rng.random() < SWAP_SHARE and self._does("swap"):
            made = forge.forge(image, points, rng, self._donor(name, i, rng))
        else:
            made = forge.forge(image, points, rng, again=again)
        kind_of = "whole" if made.operation in {"rendered", "polished", "redrawn"} else "blend"
        return self._finish(made.genuine, made.fake, float(pool.canonical_px[i]), rng, kind_of)

    def _does(self, operation: Operation) -> bool:
        return operation not in self._config.without

    def _again(self, name: str, i: int) -> Image:
        """Return a face as an autoencoder has drawn it; itself where there is no such drawing."""
        drawn = self._redrawn.get(name) if self._does("redrawn") else None
        return np.array(self._pools[name].patches[i] if drawn is None else drawn[i])

    def _generated(self, rng: Generator) -> Twins:
        name, i = self._draw_genuine(self._beside, rng)
        pool = self._pools[name]
        its_pool, j = self._generated_rows[int(rng.integers(len(self._generated_rows)))]
        made = self._pools[its_pool]
        # Crops drawn tight: what is left of the studio around a generated head is no clue then.
        geometry = degrade.draw_geometry(rng)
        geometry = replace(geometry, scale=float(rng.uniform(0.8, 1.02)))
        worse, size = self._worse(rng), self._config.preprocessing.crop_size
        genuine, fake = np.array(pool.patches[i]), np.array(made.patches[j])
        if rng.random() < VIVID_SHARE:
            genuine, fake = (style.vivid(x, rng) for x in (genuine, fake))
        if rng.random() < UNEQUAL_SHARE["whole"]:
            genuine, fake = style.unequal(genuine, fake, rng)
        return Twins(
            worse(geometry.crop(genuine, float(pool.canonical_px[i]), size)),
            worse(geometry.crop(fake, float(made.canonical_px[j]), size)),
        )

    def _finish(
        self, genuine: Image, fake: Image, canonical_px: float, rng: Generator, kind: str
    ) -> Twins:
        if rng.random() < UNEQUAL_SHARE[kind]:
            genuine, fake = style.unequal(genuine, fake, rng)
        if rng.random() < BENT_SHARE:
            seed = int(rng.integers(2**31))
            genuine, fake = style.bent(genuine, seed), style.bent(fake, seed)
        geometry, worse = degrade.draw_geometry(rng), self._worse(rng)
        size = self._config.preprocessing.crop_size
        return Twins(
            worse(geometry.crop(genuine, canonical_px, size)),
            worse(geometry.crop(fake, canonical_px, size)),
        )

    def _worse(self, rng: Generator) -> degrade.Degradation:
        drawn = degrade.draw(rng)
        return drawn if self._does("h264") else replace(drawn, crf=None)

    def _draw_genuine(self, shares: dict[str, float], rng: Generator) -> tuple[str, int]:
        names = [name for name, rows in self._genuine.items() if len(rows)]
        odds = np.array([shares.get(name, OTHER_POOL) for name in names])
        name = str(rng.choice(names, p=odds / odds.sum()))
        return name, int(rng.choice(self._genuine[name]))

    def _donor(self, name: str, i: int, rng: Generator, n_tried: int = 24) -> forge.Donor:
        """Return the face of another person whose landmarks fit best, of a few drawn ones."""
        pool = self._pools[name]
        kind = rng.random()
        if self._generated_rows and kind < GENERATED_DONOR_SHARE:
            drawn = rng.integers(len(self._generated_rows), size=n_tried)
            tried = [self._generated_rows[j] for j in drawn]
        elif self._pairs and self._config.labelled_share and kind > 1 - LABELLED_DONOR_SHARE:
            drawn = rng.integers(len(self._pairs), size=n_tried)
            fakes = [(its_pool, fake) for its_pool, _, fake in (self._pairs[j] for j in drawn)]
            tried = [
                (its_pool, fake)
                for its_pool, fake in fakes
                if its_pool != name or pool.groups[fake] != pool.groups[i]
            ]
        else:
            drawn = rng.choice(self._genuine[name], n_tried)
            tried = [(name, int(j)) for j in drawn if pool.groups[j] != pool.groups[i]]

        def unlike(row: tuple[str, int]) -> float:
            return misfit(self._pools[row[0]].landmarks[row[1]], pool.landmarks[i])

        its_pool, best = min(tried or [(name, i)], key=unlike)
        theirs = self._pools[its_pool]
        again = its_pool == name and rng.random() < REDRAWN_SOURCE_SHARE
        again = again and theirs.labels[best] == 0  # fakes are not redrawn
        face = self._again(name, best) if again else np.array(theirs.patches[best])
        return forge.Donor(face, theirs.landmarks[best])


def _no_genuine(opened: Mapping[str, Pool], config: TrainConfig) -> str:
    """Return why there is nothing to train on: nothing prepared, or under other licences alone."""
    place = config.work / "pools"
    licences = Counter(
        pool.licences[i] for pool in opened.values() for i in np.flatnonzero(pool.labels == 0)
    )
    if not licences or any(map(config.allows, licences)):
        return f"No genuine faces to train on in {place}; run `dfd prepare` first."
    told = [repr(licence) if licence else "none stated" for licence, _ in licences.most_common()]
    return (
        f"No genuine face in {place} is under a licence that was asked for: theirs are "
        f"{examples(told)}; give --licence-like one of those, or prepare other media."
    )
