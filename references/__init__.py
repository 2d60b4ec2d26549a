"""NumPy references: values in higher precision, each with the error that a correct implementation may have."""
