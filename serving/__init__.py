"""How other teams call a pushed model: TF Serving's configuration, clients, a server in plain TensorFlow."""
