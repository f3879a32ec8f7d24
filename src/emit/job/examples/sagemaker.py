"""Starts the job on SageMaker (script mode), from its folder: python examples/sagemaker.py ROLE BUCKET

train.py finds the uploaded folder as the channel "training", goes on from its checkpoint after an
interruption of a spot instance, and leaves weights.safetensors in the model artifact, which this
downloads as model.tar.gz. Needs: pip install "sagemaker<3"
"""
import shutil
import sys
import tempfile

import sagemaker
from sagemaker.pytorch import PyTorch

role, bucket = sys.argv[1:3]
session = sagemaker.Session(default_bucket=bucket)
folder = session.upload_data(".", bucket=bucket, key_prefix="job")
script = tempfile.mkdtemp()  # the script alone: the rest comes through the channel
shutil.copy("train.py", script)
estimator = PyTorch(
    entry_point="train.py",
    source_dir=script,
    role=role,
    sagemaker_session=session,
    framework_version="2.3",
    py_version="py311",
    instance_type="ml.g5.xlarge",
    instance_count=1,
    checkpoint_s3_uri=f"s3://{bucket}/checkpoints",
    hyperparameters={"epochs": 30, "batch": 128, "lr": 0.05, "momentum": 0.9,
                     "weight-decay": 5e-4, "schedule": "cosine", "amp": "bf16", "out": "/opt/ml/checkpoints"},
)
estimator.fit({"training": folder})
session.download_data(".", bucket, estimator.model_data.split(f"{bucket}/", 1)[1])
