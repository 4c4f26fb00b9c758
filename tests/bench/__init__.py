"""The figures of the product, measured on real parts and printed as a table. Nothing here is asserted."""
