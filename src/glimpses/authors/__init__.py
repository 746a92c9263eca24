"""What the paper's authors released, in and out: their feature files and their trained models."""
