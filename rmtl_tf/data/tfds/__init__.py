"""TensorFlow Datasets: our records read as a data set, a data set read as logs, builders (docs/tfds.md).

`tensorflow_datasets` is imported by the functions that need it and by `builders`, which defines its classes.
"""
