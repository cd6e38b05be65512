"""What models make of a project's clips: embeddings and predictions. Not part of the history, since it can be made
again."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np

from afcore.audio.notices import Notice
from afcore.teach.schema import Database, Prediction, ProjectClip, notices_json


class Derived:
    """The part of a `Project` that models fill."""

    db: Database

    def items(self, *states: str) -> list[ProjectClip]:
        """As `Project.items`."""
        raise NotImplementedError

    def set_embeddings(
        self, made: Iterable[tuple[int, dict[tuple[str, str], np.ndarray], Iterable[Notice] | None]]
    ) -> None:
        """Keeps what clips were embedded to, of all of them or of none: the number of each, its arrays
        {(model, "features"): (n, E), (model, "clap"): (d,)}, and what is told of its file, as it was heard for them
        (None: as before).

        Features as float16, vectors as float32, like a `Bank`.
        """
        with self.db.write("the embedding") as db:
            for clip_id, arrays, notices in made:
                for (model, kind), array in arrays.items():
                    array = np.asarray(array, np.float16 if kind == "features" else np.float32)
                    db.execute(
                        "INSERT OR REPLACE INTO embedding VALUES (?, ?, ?, ?, ?)",
                        (clip_id, model, kind, json.dumps(array.shape), array.tobytes()),
                    )
                db.execute("UPDATE clip SET fault = NULL WHERE id = ?", (clip_id,))
                if notices is not None:
                    db.execute("UPDATE clip SET notices = ? WHERE id = ?", (notices_json(notices), clip_id))

    def set_fault(self, clip_id: int, sentence: str) -> None:
        """Why a clip cannot be heard; it leaves the queue."""
        with self.db.write("this") as db:
            db.execute("UPDATE clip SET fault = ? WHERE id = ?", (sentence, clip_id))

    def features(self, clip_id: int, model: str) -> np.ndarray | None:
        """Window features (n, E) float32, or None where they have not been set."""
        found = self._embeddings("features", model, "clip_id = ?", (clip_id,))
        return found[clip_id].astype(np.float32) if found else None

    def vector(self, clip_id: int, model: str) -> np.ndarray | None:
        """CLAP vector (d,) float32, or None."""
        return self._embeddings("clap", model, "clip_id = ?", (clip_id,)).get(clip_id)

    def vectors(self, model: str, *states: str) -> dict[int, np.ndarray]:
        """CLAP vectors (d,) float32 of all clips in these states (by default any) that have one, by clip id."""
        if not states:
            return self._embeddings("clap", model)
        among = f"clip_id IN (SELECT id FROM clip WHERE state IN ({', '.join('?' * len(states))}))"
        return self._embeddings("clap", model, among, states)

    def _embeddings(self, kind: str, model: str, among: str = "1", values: tuple = ()) -> dict[int, np.ndarray]:
        with self.db.read() as db:
            rows = db.execute(
                f"SELECT clip_id, shape, data FROM embedding WHERE {among} AND model = ? AND kind = ?",
                (*values, model, kind),
            ).fetchall()
        dtype = np.float16 if kind == "features" else np.float32
        return {number: np.frombuffer(data, dtype).reshape(json.loads(shape)) for number, shape, data in rows}

    def unembedded(self, features: str, clap: str, *states: str) -> list[ProjectClip]:
        """Clips in these states (by default those in use) that lack what these models make of them and are not known to
        be damaged."""
        with self.db.read() as db:
            lacking = {
                i
                for (i,) in db.execute(
                    "SELECT id FROM clip WHERE fault IS NULL AND 2 > (SELECT count(*) FROM embedding "
                    "WHERE clip_id = clip.id AND ((model = ? AND kind = 'features') OR (model = ? AND kind = 'clap')))",
                    (features, clap),
                )
            }
            return [item for item in self.items(*states) if item.id in lacking] if lacking else []

    def set_prediction(self, clip_id: int, prediction: Prediction) -> None:
        """Keeps the latest prediction of a clip."""
        p = np.sort(np.array(list(prediction.probabilities.values())))[::-1]
        margin = float(p[0] - p[1]) if len(p) > 1 else 1.0
        entropy = float(-(p * np.log(np.maximum(p, 1e-12))).sum())
        with self.db.write("the prediction") as db:
            db.execute(
                "INSERT OR REPLACE INTO prediction VALUES (?, ?, ?, ?, ?, ?)",
                (clip_id, prediction.basis, margin, entropy, prediction.at, prediction.to_json()),
            )

    def prediction(self, clip_id: int) -> Prediction | None:
        """The latest prediction of a clip, stale or not."""
        return self.predictions(clip_id).get(clip_id)

    def predictions(self, clip_id: int | None = None) -> dict[int, Prediction]:
        """The latest prediction of each clip that has one, by clip id."""
        with self.db.read() as db:
            rows = db.execute(
                "SELECT clip_id, basis, at, data FROM prediction WHERE ? IS NULL OR clip_id = ?", (clip_id, clip_id)
            ).fetchall()
        return {row[0]: Prediction.from_row(*row) for row in rows}
