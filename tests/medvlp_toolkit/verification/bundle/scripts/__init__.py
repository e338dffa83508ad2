raise RuntimeError("the check imported the bundle")
