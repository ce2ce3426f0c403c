"""Devices, precision, CPU kernels, distributed training (DDP, sharding as FSDP does) and memory."""
