"""The linears of q, k and v, made one after another -> the one that their rows are merged in."""

from torch import nn


def before_init(self, width, q_width, kv_width, bias):
    self.q_proj = nn.Linear(width, q_width, bias=bias)
    self.k_proj = nn.Linear(width, kv_width, bias=bias)
    self.v_proj = nn.Linear(width, kv_width, bias=bias)


def before_init__query_last(self, width, q_width, kv_width, bias):
    self.k_proj = nn.Linear(width, kv_width, bias=bias)
    self.v_proj = nn.Linear(width, kv_width, bias=bias)
    self.q_proj = nn.Linear(width, q_width, bias=bias)


def after_init(self, width, q_width, kv_width, bias):
    self.qkv_sizes = [
        q_width,
        kv_width,
        kv_width,
    ]
    self.qkv = nn.Linear(width, sum(self.qkv_sizes), bias=bias)


def before_init__other_values(self, width, q_width, k_width, v_width, bias):
    self.q_proj = nn.Linear(width, q_width, bias=bias)
    self.k_proj = nn.Linear(width, k_width, bias=bias)
    self.v_proj = nn.Linear(width, v_width, bias=bias)


def after_init__other_values(self, width, q_width, k_width, v_width, bias):
    self.qkv_sizes = [
        q_width,
        k_width,
        v_width,
    ]
    self.qkv = nn.Linear(width, sum(self.qkv_sizes), bias=bias)
