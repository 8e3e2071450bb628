"""Layers that act on the channels of each pixel."""

import pytest
import torch

from hypercolumns.models.classifiers.pointwise import add_pointwise, pointwise


@pytest.mark.parametrize("pixels", [0, 1, 7, 1021])
@pytest.mark.parametrize("outputs", [1, 8, 21])
def test_pointwise_is_a_matrix_product(pixels, outputs):
    x = torch.randn(2, pixels, 5, requires_grad=True)
    weight, bias = torch.randn(outputs, 5, requires_grad=True), torch.randn(outputs, requires_grad=True)
    result, expected = pointwise(x, weight, bias), x @ weight.T + bias
    torch.testing.assert_close(result, expected)
    gradient = torch.randn_like(expected)
    found, wanted = (torch.autograd.grad(each, [x, weight, bias], gradient) for each in (result, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtypes", [("float32",) * 3, ("float64",) * 3, ("float32", "bfloat16", "bfloat16")])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("channels", [5, 200])
def test_products_are_added_in_place(dtypes, with_bias, channels):
    of_total, *others = (getattr(torch, name) for name in dtypes)
    total = torch.randn(2, 7, 3, dtype=of_total)
    x, weight = (
        torch.randn(*shape, dtype=dtype) for shape, dtype in zip(((2, 7, channels), (3, channels)), others, strict=True)
    )
    bias = torch.randn(3, dtype=others[1]) if with_bias else None
    expected = total + x @ weight.T + (0 if bias is None else bias)
    result = add_pointwise(total, x, weight, bias)
    assert result.data_ptr() == total.data_ptr()
    tolerance = 1e-5 if of_total == others[0] else 5e-2  # bfloat16 has 8 significant bits
    torch.testing.assert_close(result, expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(add_pointwise(None, x, weight, bias), pointwise(x, weight, bias))


def test_products_are_added_under_autocast():
    total, x, weight = torch.randn(2, 7, 8), torch.randn(2, 7, 5), torch.randn(8, 5)
    with torch.autocast("cpu", torch.bfloat16):
        expected = total + pointwise(x, weight)
        torch.testing.assert_close(add_pointwise(total, x, weight), expected)
