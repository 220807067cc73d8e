"""Temporal head: the frame features of one clip in, a clip logit and frame logits out.

LayerNorm → bidirectional LSTM (or GRU) → a logit per frame, and a clip logit by attention pooling
(Bahdanau-style additive scores). Beside the features it reads how much they change from frame to
frame: the norm of the difference says "the face jumped" independently of what the face is. Motion
features, where a detector has them, are normalised on their own.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dfd_batch.checkpoint import Architecture, Checkpoint


class TemporalHead(nn.Module):
    """LSTM or GRU over frame features.

    Args:
        architecture: `temporal` must be "lstm" or "gru".
        feature_dim: D of the frame encoder.
        dropout: On the recurrent layer's input and output while training.
    """

    def __init__(self, architecture: Architecture, feature_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        hidden = architecture.hidden
        self.feature_dim, self.motion = feature_dim, architecture.motion
        self.norm = nn.LayerNorm(feature_dim)
        if self.motion:
            self.motion_norm = nn.LayerNorm(self.motion)
        self.project = nn.Linear(feature_dim + 1 + self.motion, hidden)
        cell = {"lstm": nn.LSTM, "gru": nn.GRU}[architecture.temporal]
        self.recurrent = cell(
            hidden, hidden // 2, architecture.layers, batch_first=True, bidirectional=True
        )
        self.dropout = nn.Dropout(dropout)
        width = 2 * (hidden // 2) + hidden
        self.frame = nn.Linear(width, 1)
        self.attention = nn.Sequential(nn.Linear(width, 64), nn.Tanh(), nn.Linear(64, 1))
        self.clip = nn.Linear(width, 1)

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return clip logits (B,) and frame logits (B, T).

        Args:
            features: (B, T, D + M) of consecutive frames, padded at the end.
            mask: (B, T) bool, True where there is a frame; at least one per row.
        """
        x = self.norm(features[..., : self.feature_dim])
        step = torch.zeros_like(x[..., :1])
        # a repeated frame is a step of zero, where the root has no gradient
        step[:, 1:, 0] = (x[:, 1:] - x[:, :-1]).square().mean(-1).clamp(min=1e-6).sqrt()
        parts = [x, step * mask[..., None]]
        if self.motion:
            parts.append(self.motion_norm(features[..., self.feature_dim :]))
        inside = self.dropout(torch.relu(self.project(torch.cat(parts, -1))))
        lengths = mask.sum(1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(
            inside, lengths, batch_first=True, enforce_sorted=False
        )
        states, _ = self.recurrent(packed)
        over_time, _ = nn.utils.rnn.pad_packed_sequence(
            states, batch_first=True, total_length=features.shape[1]
        )
        h = self.dropout(torch.cat([over_time, inside], -1))  # (B, T, 2 * hidden)
        weights = self.attention(h).squeeze(-1).masked_fill(~mask, -torch.inf).softmax(1)
        pooled = (weights[..., None] * h).sum(1)
        return self.clip(pooled).squeeze(-1), self.frame(h).squeeze(-1)


class ClipScorer:
    """Runs a checkpoint's temporal head over many clips of different lengths at once."""

    def __init__(self, checkpoint: Checkpoint, device: str, feature_dim: int) -> None:
        self._device = torch.device(device)
        self._head = TemporalHead(checkpoint.card.architecture, feature_dim)
        weights = checkpoint.part("temporal")
        self._head.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
        self._head.eval().to(self._device)

    @torch.inference_mode()
    def __call__(self, clips: list[NDArray[np.float16]]) -> list[tuple[float, NDArray[np.float32]]]:
        """Return (clip logit, frame logits (T,)) for each clip's features (T, D + M), T >= 1."""
        if not clips:
            return []
        longest = max(len(clip) for clip in clips)
        features = torch.zeros(len(clips), longest, clips[0].shape[1])
        mask = torch.zeros(len(clips), longest, dtype=torch.bool)
        for row, clip in enumerate(clips):
            features[row, : len(clip)] = torch.from_numpy(clip.astype(np.float32))
            mask[row, : len(clip)] = True
        clip_logits, frame_logits = self._head(features.to(self._device), mask.to(self._device))
        frames = frame_logits.float().cpu().numpy()
        return [
            (float(logit), frames[row, : len(clip)])
            for row, (logit, clip) in enumerate(zip(clip_logits.float().cpu(), clips, strict=True))
        ]
