"""The obvious way to augment images, for comparison: image by image and value by value in
Python, a noise value inserted at each of the secret positions of every channel. Doubles
each image, as one decoy does. Prints one JSON line.

    python_augment.py X.npy IMAGES
"""

import json
import random
import sys
import time

import numpy as np


def augment(image, positions):
    """image [C, H, W] -> [C, 2H, W]. positions: per channel, rising."""
    channels, height, width = image.shape
    out = np.empty((channels, 2 * height, width), image.dtype)
    for c in range(channels):
        values = image[c].ravel().tolist()
        for p in positions[c]:
            values.insert(p, random.randrange(256))
        out[c] = np.array(values, image.dtype).reshape(2 * height, width)
    return out


def main():
    images = np.load(sys.argv[1], mmap_mode="r")[: int(sys.argv[2])]
    plane = images.shape[2] * images.shape[3]
    random.seed(1)
    positions = [sorted(random.sample(range(2 * plane), plane))
                 for _ in range(images.shape[1])]
    start = time.perf_counter()
    for image in images:
        augment(image, positions)
    seconds = time.perf_counter() - start
    print(json.dumps({"images": len(images), "images_s": len(images) / seconds}))


main()
