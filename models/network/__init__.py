"""The networks: pretrained backbones, the classifier on top, weights, freezing."""
