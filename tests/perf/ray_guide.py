"""The same LSTM on the same data as jobs/lstm.yaml, as a TorchTrainer script.

Written the way Ray's own guide does it: https://docs.ray.io/en/latest/train/getting-started-pytorch.html
Prints the wall-clock time at which rank 0 has reported its first epoch.
"""

import csv
import os
import sys
import tempfile
import time

import ray.train
import ray.train.torch
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

WINDOW, HORIZON, EPOCHS = 104, 26, 3


def windows(path: str) -> TensorDataset:
    with open(path) as file:
        values = [float(row["co2"]) if row["co2"] else float("nan") for row in csv.DictReader(file)]
    for i, value in enumerate(values):
        if value != value:
            values[i] = values[i - 1]
    series = torch.tensor(values[: int(len(values) * 0.7)])
    series = (series - series.mean()) / series.std()
    cut = series.unfold(0, WINDOW + HORIZON, 1)
    return TensorDataset(cut[:, :WINDOW, None], cut[:, WINDOW:, None])


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, 50, batch_first=True)
        self.head = nn.Linear(50, HORIZON)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, (hidden, _) = self.lstm(x)
        return self.head(hidden[-1]).unsqueeze(-1)


def train_func(config: dict) -> None:
    model = ray.train.torch.prepare_model(Net())
    criterion = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    loader = DataLoader(windows(config["path"]), batch_size=32, shuffle=True)
    loader = ray.train.torch.prepare_data_loader(loader)
    for epoch in range(EPOCHS):
        if ray.train.get_context().get_world_size() > 1:
            loader.sampler.set_epoch(epoch)
        for x, y in loader:
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with tempfile.TemporaryDirectory() as folder:
            bare = model.module if hasattr(model, "module") else model
            torch.save(bare.state_dict(), os.path.join(folder, "model.pt"))
            ray.train.report(
                {"loss": loss.item(), "epoch": epoch}, checkpoint=ray.train.Checkpoint.from_directory(folder)
            )
        if epoch == 0:
            with open(config["mark"], "w") as file:
                file.write(str(time.time()))


if __name__ == "__main__":
    path, storage, mark = sys.argv[1:4]
    ray.train.torch.TorchTrainer(
        train_func,
        train_loop_config={"path": path, "mark": mark},
        scaling_config=ray.train.ScalingConfig(num_workers=1, use_gpu=False),
        run_config=ray.train.RunConfig(storage_path=storage, name=f"guide-{time.time()}"),
    ).fit()
