"""The backbones in idiomatic PyTorch; runs in an environment of its own, without TensorFlow."""
