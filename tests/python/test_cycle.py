"""The first program of README and guide, copied as is, on real data with a real nn.Module; then a Dataset of
torch's, trained by the job's own train.py."""
import os
import re
import subprocess
import sys
import unittest

import support

torch = support.require("torch")

import amalgam  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import TensorDataset, random_split  # noqa: E402

MOST_LINES = 10


def first_program(page):
    with open(os.path.join(support.ROOT, page), encoding="utf-8") as f:
        return re.search(r"```python\n(.*?)```", f.read(), re.S).group(1)


def accuracy(model, x, y, mean=0.0, std=1.0):
    with torch.no_grad():
        found = model.eval()((torch.from_numpy(x).float() / 255 - mean) / std).argmax(1).numpy()
    return float((found == y).mean())


class Cycle(support.Case):
    def test_the_guide_s_program_is_the_readme_s(self):
        self.assertEqual(first_program("docs/pytorch.md"), first_program("README.md"))

    def test_the_readme_s_program_runs_as_it_stands(self):
        folder = support.data_folder("fashion-mnist")
        code = first_program("README.md")
        self.assertLessEqual(len([line for line in code.splitlines() if line.strip()]), MOST_LINES)
        names = {}
        exec(compile(code.replace("/usr/share/datasets/fashion-mnist", folder), "README.md", "exec"), names)
        self.assertIs(type(names["model"]), nn.Sequential)
        self.assertGreater(accuracy(names["model"], *support.read_images(folder, "t10k", 10000)), 0.8)

    def test_a_dataset_of_torch_s_trained_by_train_py(self):
        folder = support.data_folder("fashion-mnist")
        x, y = support.read_images(folder, "train", 8000)
        test_x, test_y = support.read_images(folder, "t10k", 2000)
        own, covers = random_split(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), [4000, 4000],
                                   torch.Generator().manual_seed(1))
        torch.manual_seed(2)
        model = nn.Sequential(nn.Conv2d(1, 8, 3, 2, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),
                              nn.Dropout(0.1), nn.Linear(8 * 169, 10))
        untrained = accuracy(model, test_x, test_y, 0.286, 0.353)
        job = amalgam.obfuscate(model, own, decoys_from=covers, preprocess=([0.286], [0.353]), key="job.key", out="job",
                                progress=False)
        subprocess.run([sys.executable, "train.py", "--epochs", "2", "--batch", "64", "--lr", "0.05", "--momentum",
                        "0.9"], cwd=job, check=True, stdout=subprocess.DEVNULL)
        state = amalgam.extract("job.key", job.weights)
        self.assertEqual(int(state["1.num_batches_tracked"]), 2 * (4000 // 64))
        model.load_state_dict(state, strict=True)
        self.assertLess(untrained, 0.3)
        self.assertGreater(accuracy(model, test_x, test_y, 0.286, 0.353), 0.75)


if __name__ == "__main__":
    unittest.main()
