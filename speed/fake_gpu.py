"""A GPU's code path on a machine without one, counted: shapes, kernels, bytes, no values.

PyTorch's fake tensors have a shape, a type and a device, and no memory. So the code for a GPU runs
at its real size within seconds, and a `Watch` sees each operation of it.

    with on_cuda():                # torch.cuda answers for a GPU; streams and graphs do nothing
        model = model_of(shape, torch.bfloat16, "cuda:0")
        with Watch() as watch:
            ...
    watch.calls, watch.bytes, watch.operations
    watch.refused                  # what no CUDA graph could hold, or what the host waits for

A value that the host asks for is answered with 1 (`item`, `bool`, `float`) and noted; `nonzero`,
`tolist` and boolean masks have no shape without values, and raise.

Backward is another matter. PyTorch without CUDA cannot send gradients through tensors of a GPU, so
a whole update is counted with fake tensors of the CPU, for which `as_a_gpu_updates` takes the
branches that a GPU takes.
"""

import contextlib
from collections import Counter
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

import model as lm
from engine import attention

aten = torch.ops.aten

# Operations that launch no kernel: they make a view, or memory that nothing has written yet.
NO_KERNEL = {
    *("view", "_unsafe_view", "_reshape_alias", "as_strided", "alias", "detach", "lift_fresh"),
    *("slice", "select", "split", "split_with_sizes", "unbind", "diagonal", "device"),
    *("transpose", "t", "permute", "expand", "squeeze", "unsqueeze"),
    *("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"),
}
# Matrix products and attention, which a GPU's tensor cores do.
PRODUCTS = {
    *("mm", "addmm", "bmm", "baddbmm", "_flash_attention_forward"),
    *("_varlen_attn", "_varlen_attn_backward"),
}
# Of a large tensor these touch as much as they give, or are given.
READS_PARTS = {"embedding", "index", "index_select", "gather"}
WRITES_PARTS = {"index_put_", "scatter_", "scatter_add_", "index_put"}
# The size of their result is a value, for which the host waits.
SIZED_BY_VALUES = {"nonzero", "masked_select", "_local_scalar_dense", "item", "is_pinned"}
INDEXING = {"index", "index_put_", "index_put", "_unsafe_index", "_index_put_impl_"}


class Watch(TorchDispatchMode):
    """Counts what runs on a device.

    calls, bytes, operations: of each kind of kernel how often it ran, the bytes that it read and
    wrote, and its multiplications and additions if it is a product. log: (kind, bytes, operations)
    of each kernel in its order. refused: (kind, tensors) of each that a CUDA graph cannot hold.
    seen: tokens of which a row's decode step reads keys and values, for the kernel whose lengths
    are values.
    """

    def __init__(self, device: str = "cuda", seen: int = 0):
        super().__init__()
        self.device = device
        self.seen = seen
        self.calls = Counter()
        self.bytes = Counter()
        self.operations = Counter()
        self.log = []
        self.refused = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        kind = function.overloadpacket.__name__
        given = tensors_of((args, kwargs))
        out = function(*args, **kwargs)
        made = tensors_of(out)
        if is_refused(kind, args, given, made):
            self.refused.append((kind, [described(tensor) for tensor in given + made]))
        on_device = any(tensor.device.type == self.device for tensor in given + made)
        if on_device and kind not in NO_KERNEL:
            operations = 0
            if function.overloadpacket in flop_registry:
                operations = flop_registry[function.overloadpacket](*args, **kwargs, out_val=out)
            size = self.moved(kind, given, made)
            if kind == "_flash_attention_forward" and kwargs.get("seqused_k") is not None:
                query = given[0]
                pairs, _, D = query.shape  # a sequence is a pair of a row and a key/value head
                size = 2 * spread(query) + 2 * pairs * self.seen * D * query.element_size()
                operations = 4 * query.numel() * self.seen
            self.add(kind, size, operations)
        return out

    def moved(self, kind: str, given: list, made: list) -> int:
        """Bytes that a kernel reads and writes."""
        known = {id(tensor) for tensor in given}
        written = [tensor for tensor in made if id(tensor) not in known or kind.endswith("_")]
        if kind in READS_PARTS:
            return 2 * sum(map(spread, made))
        if kind in WRITES_PARTS:
            values = [tensor for tensor in given[1:] if tensor.is_floating_point()]
            return 2 * sum(map(spread, values or given[1:2]))
        read = [tensor for tensor in given if tensor.device.type == self.device]
        if kind in ("copy_", "fill_", "zero_"):
            read = read[1:]  # what they write to is not read
        return sum(map(spread, read)) + sum(map(spread, written))

    def add(self, kind: str, size: int, operations: int = 0) -> None:
        """Count one kernel."""
        self.calls[kind] += 1
        self.bytes[kind] += size
        self.operations[kind] += operations
        self.log.append((kind, size, operations))

    @property
    def kernels(self) -> int:
        return len(self.log)

    @property
    def elementwise_bytes(self) -> int:
        """Bytes of everything but products and attention."""
        return sum(size for kind, size, _ in self.log if kind not in PRODUCTS)


def tensors_of(tree) -> list:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def described(tensor) -> tuple:
    return tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), tensor.device.type


def spread(tensor) -> int:
    """Bytes that a tensor's elements take; a dimension that is only expanded is there once."""
    elements = 1
    for size, stride in zip(tensor.shape, tensor.stride()):
        if stride != 0:
            elements *= size
    return elements * tensor.element_size()


def is_refused(kind: str, args: tuple, given: list, made: list) -> bool:
    """Whether a CUDA graph cannot hold a call, because it waits for a value or for the host."""
    both = given + made
    devices = {tensor.device.type for tensor in both}
    if kind in SIZED_BY_VALUES:
        return "cuda" in devices
    if kind in INDEXING and "cuda" in devices:
        for index in args[1]:
            if index is not None and (index.dtype == torch.bool or index.device.type == "cpu"):
                return True
    if devices != {"cpu", "cuda"}:
        return False
    # A single number of the CPU is handed to a kernel as an argument; nothing else crosses so.
    on_cpu = [tensor for tensor in both if tensor.device.type == "cpu"]
    numbers = all(tensor.dim() == 0 for tensor in on_cpu)
    return not numbers or kind in ("_to_copy", "copy_", "where")


# ---------------------------------------------------------------- a GPU that is not there


class Noted:
    """What a dry run met on the way: `reads` of values, and tensors `sent` from pageable memory."""

    def __init__(self):
        self.reads = []
        self.sent = []

    def clear(self) -> None:
        self.reads.clear()
        self.sent.clear()


class Spelled(TorchFunctionMode):
    """Spells in another way what a build without CUDA cannot do for tensors of a GPU.

    These are subscripts, a few operators and copies from the CPU. Reads and copies are noted.
    """

    # Operators whose Python spelling asks for the device first.
    PLAIN = {
        "__invert__": aten.bitwise_not,
        "__or__": aten.bitwise_or,
        "__and__": aten.bitwise_and,
        "__iand__": aten.bitwise_and_,
    }
    # What is answered in the place of a value that is not there.
    ANSWERS = {"item": 1.0, "__float__": 1.0, "__int__": 1, "__bool__": True}

    def __init__(self, noted: Noted):
        super().__init__()
        self.noted = noted

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        args = tuple(whole(value) for value in args)
        if "device" in kwargs:
            kwargs["device"] = whole(kwargs["device"])
        name = getattr(function, "__name__", "")
        if function is torch.Tensor.__getitem__:
            return self.subscript(*args)
        if function is torch.Tensor.__setitem__:
            return self.assign(*args)
        if name in self.ANSWERS and args[0].device.type == "cuda":
            self.noted.reads.append((name, tuple(args[0].shape)))
            return self.ANSWERS[name]
        if name in self.PLAIN:
            return self.PLAIN[name](*args)
        if function is torch.Tensor.copy_:
            return aten.copy_(*args, **kwargs)
        if function is torch.Tensor.pin_memory:
            return args[0]
        if function is torch.tensor and is_gpu(kwargs.get("device")):
            device = kwargs.pop("device")
            return self.send(function(*args, **kwargs), device)
        if function is torch.Tensor.to and args[0].device.type == "cpu":
            wanted = [value for value in (*args[1:], *kwargs.values()) if is_gpu(value)]
            if wanted:
                types = [v for v in (*args[1:], *kwargs.values()) if isinstance(v, torch.dtype)]
                tensor = args[0].to(types[0] if types else args[0].dtype)
                if kwargs.get("non_blocking"):
                    return torch.empty(tensor.shape, dtype=tensor.dtype, device=wanted[0])
                return self.send(tensor, wanted[0])
        if name == "rms_norm" and not torch.is_grad_enabled():
            return aten.neg(args[0])  # a GPU's kernel reads as much and writes as much
        return function(*args, **kwargs)

    def send(self, tensor, device):
        """A tensor on its way from pageable memory, for which the host waits."""
        self.noted.sent.append(tuple(tensor.shape))
        return torch.empty(tensor.shape, dtype=tensor.dtype, device=device)

    def subscript(self, tensor, index):
        view, indices = self.walk(tensor, index)
        return aten.index.Tensor(view, indices) if indices else view

    def assign(self, tensor, index, value):
        view, indices = self.walk(tensor, index)
        if not isinstance(value, torch.Tensor):
            if not indices:
                return aten.fill_(view, value)
            value = torch.full((), value, dtype=tensor.dtype, device=tensor.device)
        if not indices:
            return aten.copy_(view, value)
        return aten.index_put_(view, indices, value.to(tensor.dtype))

    def walk(self, tensor, index):
        """(what slices, numbers and None leave of a tensor, the tensors that index it)."""
        index = list(index) if isinstance(index, tuple) else [index]
        places = [place for place, i in enumerate(index) if i is Ellipsis]
        if places:
            named = sum(i is not None and i is not Ellipsis for i in index)
            index[places[0] : places[0] + 1] = [slice(None)] * (tensor.dim() - named)
        dim = 0
        found = {}
        for i in index:
            if i is None:
                tensor = tensor.unsqueeze(dim)
            elif isinstance(i, int):
                tensor = tensor.select(dim, i)
                continue  # that dimension is gone
            elif isinstance(i, slice):
                if i != slice(None):
                    tensor = aten.slice.Tensor(tensor, dim, i.start, i.stop, i.step or 1)
            else:
                i = torch.tensor(i) if isinstance(i, list) else i
                found[dim] = i if i.device == tensor.device else self.send(i, tensor.device)
            dim += 1
        if not found:
            return tensor, None
        return tensor, [found.get(d) for d in range(max(found) + 1)]


def is_gpu(value) -> bool:
    return isinstance(value, (str, torch.device)) and str(value).startswith("cuda")


def whole(value):
    """A device's name with its number."""
    if isinstance(value, (str, torch.device)) and str(value) == "cuda":
        return torch.device("cuda:0")
    return value


class Quiet:
    """Stands for a stream, an event or a graph, and does nothing."""

    def __init__(self, *_, **__):
        self.device = torch.device("cuda:0")

    def __getattr__(self, name):
        return lambda *_, **__: None


@contextlib.contextmanager
def on_cuda(capability: tuple[int, int] = (9, 0), free: float = 140e9):
    """Tensors of a GPU can be made, without values; yields what was `Noted`."""

    def nothing(*_, **__):
        return None

    def nowhere(*_, **__):
        return contextlib.nullcontext()

    answers = dict(
        is_available=lambda: True,
        get_device_capability=lambda *_: capability,
        mem_get_info=lambda *_: (int(free), int(free)),
        current_stream=Quiet,
        Stream=Quiet,
        Event=Quiet,
        CUDAGraph=Quiet,
        stream=nowhere,
        graph=nowhere,
        graph_pool_handle=object,
        synchronize=nothing,
        empty_cache=nothing,
    )
    noted = Noted()
    no_addresses = patch.object(torch.Tensor, "data_ptr", lambda tensor: 0)
    fakes = FakeTensorMode(allow_non_fake_inputs=True)
    with patch.multiple(torch.cuda, **answers), no_addresses, fakes, Spelled(noted):
        yield noted


def model_of(shape, dtype: torch.dtype, device: str) -> lm.Transformer:
    """A model of this shape whose weights are fake tensors; to be called where these can be."""
    model = lm.Transformer(shape)
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            # In the module, not in the parameter's data: a fake tensor stays where it was made.
            weights = torch.empty(parameter.shape, dtype=dtype, device=device)
            module._parameters[name] = torch.nn.Parameter(weights)
    return model


# ---------------------------------------------------------------- an update


@contextlib.contextmanager
def as_a_gpu_updates(watch: Watch):
    """Fake tensors of the CPU take a GPU's branches: packed rows, and kernels that only it has."""

    def kernel(q, k, v, query_lengths, key_lengths):
        ends = (attention.row_ends(query_lengths, "cpu"), attention.row_ends(key_lengths, "cpu"))
        return attention.attend_packed(q, k, v, *ends, max(query_lengths), max(key_lengths))

    def rms_norm(x, shape, weight, eps):
        return OneKernelNorm.apply(x, weight, watch)

    with (
        FakeTensorMode(allow_non_fake_inputs=True),
        patch.object(lm.Transformer, "packs", True),
        patch.object(lm, "CACHED_BYTES", 2**60),  # the logits of a chunk at once
        patch.object(attention, "attend_one_by_one", kernel),
        patch.object(F, "rms_norm", rms_norm),
    ):
        yield


class OneKernelNorm(torch.autograd.Function):
    """RMSNorm as a GPU has it, one kernel forward and two backward; only its traffic is real."""

    @staticmethod
    def forward(ctx, x, weight, watch: Watch):
        ctx.save_for_backward(x, weight)
        ctx.watch = watch
        watch.add("rms_norm", 2 * spread(x))
        return aten.empty_like(x)

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        # The gradient of the input, and that of the weight, each from the input and the gradient.
        ctx.watch.add("rms_norm_backward", 3 * spread(x))
        ctx.watch.add("rms_norm_backward", 2 * spread(x))
        return aten.empty_like(x), aten.empty_like(weight), None
