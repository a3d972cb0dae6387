"""What the model is made of: data, augmentation, fitting, calibration, evaluation, export."""
