"""Kernels on rows of points, one file each, made once and asked for blocks."""

from shift.kernels.distance import Distance
from shift.kernels.gaussian import Gaussian
from shift.kernels.linear import Linear
from shift.kernels.product import Product
from shift.kernels.protocol import Kernel
from shift.kernels.rows import Rows
from shift.kernels.squares import Squares

__all__ = ["Distance", "Gaussian", "Kernel", "Linear", "Product", "Rows", "Squares"]
