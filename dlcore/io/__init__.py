"""Files: models and weights as safetensors, configs as JSON."""
