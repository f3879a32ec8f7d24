"""Ctrl-C at random moments: neither job nor key stays, and KeyboardInterrupt is what the caller sees."""
import os
import random
import shutil
import signal
import threading
import time
import unittest

import support

torch = support.require("torch")

import amalgam  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import Dataset  # noqa: E402

ROUNDS = 9


class Slow(Dataset):
    """Takes its time, as images on a disk do, so that signals hit the caller's code and the library's alike."""

    def __init__(self, seed):
        self.x = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(seed))

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        time.sleep(0.0005)
        return self.x[i], i % 3


def make_model():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))


class Interrupt(support.Case):
    def setUp(self):
        super().setUp()
        # A shell starts what runs in its background with SIGINT ignored.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, before)

    def obfuscate(self):
        return amalgam.obfuscate(make_model(), Slow(1), decoys_from=Slow(2), key="job.key", out="job", progress=False)

    def clear(self, round_name):
        """Moves what is there out of the way."""
        os.makedirs(f"../{self.id()}-{round_name}")
        self.addCleanup(shutil.rmtree, os.path.abspath(f"../{self.id()}-{round_name}"))
        for name in os.listdir("."):
            os.rename(name, f"../{self.id()}-{round_name}/{name}")

    def interrupted(self, after, work):
        """Runs work, with SIGINT after so many seconds; True if KeyboardInterrupt came out of it."""
        timer = threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT))
        try:
            timer.start()
            work()
            timer.cancel()
            timer.join()
            time.sleep(0.01)  # a signal on its way belongs to this round
        except KeyboardInterrupt:
            return True
        return False

    def test_ctrl_c_at_random_moments_leaves_no_half_made_job(self):
        self.obfuscate()  # the first one also loads what is loaded once
        self.clear("first")
        start = time.monotonic()
        self.obfuscate()
        whole = time.monotonic() - start
        made = sorted(os.listdir("."))
        self.assertEqual(made, ["job", "job.key"])
        seed = random.SystemRandom().randrange(2 ** 32)
        print(f"test_interrupt: seed {seed}", flush=True)
        moments = random.Random(seed)
        stopped = 0
        for i in range(ROUNDS):
            self.clear(i)
            handler = signal.getsignal(signal.SIGINT)
            was_stopped = self.interrupted(moments.random() * whole, self.obfuscate)
            self.assertIs(signal.getsignal(signal.SIGINT), handler)
            there = sorted(os.listdir("."))
            self.assertIn(there, ([], made), f"seed {seed}, round {i}")
            if there:  # made whole: it was over before the signal came
                amalgam.inspect("job")
            self.assertTrue(was_stopped or there, f"seed {seed}, round {i}")
            stopped += was_stopped and not there
        self.assertGreater(stopped, 1, "no moment was one of work")

    def test_ctrl_c_while_training_leaves_a_checkpoint(self):
        job = self.obfuscate()
        self.assertTrue(self.interrupted(1.0, lambda: amalgam.train(job, epochs=100000, batch=32, progress=False)))
        self.assertTrue(os.path.exists("job/out/checkpoint.safetensors"))
        self.assertFalse(os.path.exists(job.weights))
        state = amalgam.extract("job.key", "job/out/checkpoint.safetensors")
        self.assertEqual(list(state), list(make_model().state_dict()))


if __name__ == "__main__":
    unittest.main()
