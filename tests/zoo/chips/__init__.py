"""Networks of the families that chips are bought for, taken to packer and executor."""
