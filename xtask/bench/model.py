"""The peers of `cargo xtask bench model`: images/s of one network, as `dhih-train bench --json` prints them.

PyTorch: both memory layouts are measured and the better one is reported. Needs torch and torchvision; transformers and timm for the networks
of theirs.
ONNX Runtime and OpenVINO (`--engine onnxruntime`, `--engine openvino`, inference alone): the network that PyTorch exports. Need onnx, onnxscript and
onnxruntime or openvino, too.
"""
import argparse
import contextlib
import io
import json
import statistics
import tempfile
import time

import torch
import torch.nn as nn
import torchvision

BITS, CLASSES = 48, 10


def small():
    layers, channels = [], 3
    for out in (32, 64, 128):
        layers += [nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(out), nn.ReLU()]
        channels = out
    return nn.Sequential(*layers, nn.Flatten())


def cifarnet():
    whiten = nn.Conv2d(3, 24, 2)
    whiten.weight.requires_grad_(False)
    layers, channels = [whiten, nn.GELU()], 24
    for out in (64, 256, 256):
        layers += [nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(out), nn.GELU()]
        layers += [nn.Conv2d(out, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.GELU()]
        channels = out
    return nn.Sequential(*layers, nn.MaxPool2d(3), nn.Flatten())


def cifar_stem(net):
    net.conv1, net.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return net


def without_classifier(net):
    """The same network up to its last hidden layer, as our backbones end."""
    if hasattr(net, "fc"):
        net.fc = nn.Identity()
    elif isinstance(net, torchvision.models.SqueezeNet):
        return nn.Sequential(net.features, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    elif isinstance(net, torchvision.models.MobileNetV2):
        net.classifier = nn.Identity()
    else:
        net.classifier = net.classifier[:-1] if isinstance(net, torchvision.models.AlexNet) else net.classifier[:-2]
    return net


def build(name, side):
    models = torchvision.models
    if name in ("dinov2-small", "clip-vit-b32"):
        return transformer(name, side)
    if name == "efficientnet-lite0":
        import timm

        return timm.create_model("tf_efficientnet_lite0", num_classes=0)
    if name in ("small", "cifarnet"):
        return globals()[name]()
    if name.endswith("-cifar"):
        return without_classifier(cifar_stem(getattr(models, name.removesuffix("-cifar"))()))
    return without_classifier(getattr(models, name.replace("-", "_"))())


class Features(nn.Module):
    """What transformers' models return beside the features is left away."""

    def __init__(self, net, name):
        super().__init__()
        self.net, self.name = net, name

    def forward(self, x):
        return getattr(self.net(pixel_values=x), self.name)


def transformer(name, side):
    import transformers

    sizes = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "image_size": side}
    if name == "dinov2-small":
        config = transformers.Dinov2Config(**{**sizes, "hidden_size": 384, "num_attention_heads": 6}, patch_size=14)
        return Features(transformers.Dinov2Model(config), "pooler_output")
    config = transformers.CLIPVisionConfig(**sizes, intermediate_size=3072, patch_size=32)
    return Features(transformers.CLIPVisionModelWithProjection(config), "image_embeds")


class Hashing(nn.Module):
    """Backbone, hash layer and a classifier on the relaxed code."""

    def __init__(self, name, side, train_last=None):
        super().__init__()
        self.backbone = build(name, side).eval()
        if train_last:
            self.backbone.requires_grad_(False)
            for block in self.backbone.net.encoder.layer[-train_last:]:
                block.requires_grad_(True)
            self.backbone.net.layernorm.requires_grad_(True)
        with torch.no_grad():
            features = self.backbone(torch.zeros(1, 3, side, side)).shape[1]
        self.hash_layer, self.classifier = nn.Linear(features, BITS), nn.Linear(BITS, CLASSES)

    def forward(self, x):
        return self.hash_layer(self.backbone(x))


def step_function(net, x, training, bf16):
    if not training:
        net.eval()

        def step():
            with torch.inference_mode(), torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
                # Reading a value waits for a GPU.
                net(x)[0, 0].item()
        return step
    net.train()
    labels = torch.arange(len(x), device=x.device) % CLASSES
    trained = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1e-3, momentum=0.9, weight_decay=5e-4, nesterov=True)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
            loss = nn.functional.cross_entropy(net.classifier(torch.tanh(net(x))).float(), labels)
        loss.backward()
        optimizer.step()
        loss.item()
    return step


def exported_step(engine, net, x, threads):
    images = x.numpy()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        path = f"{folder}/network.onnx"
        torch.onnx.export(net.eval(), (x,), path, input_names=["x"], external_data=False)
        if engine == "onnxruntime":
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            return lambda: session.run(None, {"x": images})
        import openvino

        settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        compiled = openvino.Core().compile_model(path, "CPU", settings)
    request = compiled.create_infer_request()
    return lambda: request.infer({"x": images}, share_inputs=True, share_outputs=True)


def measure(args, layout):
    torch.manual_seed(0)
    net = Hashing(args.backbone, args.image_side, args.train_last).to(args.device, memory_format=layout)
    x = torch.randn(args.batch_size, 3, args.image_side, args.image_side).to(args.device, memory_format=layout)
    if args.engine == "pytorch":
        step = step_function(net, x, args.only == "training", args.dtype == "bf16")
    else:
        step = exported_step(args.engine, net, x, args.threads)
    step(), step()
    seconds, began = [], time.perf_counter()
    while len(seconds) < 3 or time.perf_counter() - began < args.seconds:
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    median = statistics.median(seconds)
    return {"work": args.only, "images_per_second": args.batch_size / median, "step_seconds": median,
            "steps": len(seconds)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--image-side", type=int, required=True)
    parser.add_argument("--only", choices=["training", "inference"], required=True)
    parser.add_argument("--train-last", type=int, help="blocks of a DINOv2 that are trained, with the hash layer")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--engine", choices=["pytorch", "onnxruntime", "openvino"], default="pytorch")
    parser.add_argument("--device", default="cpu", help="of PyTorch: cpu or cuda")
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32", help="of PyTorch: what autocast takes")
    args = parser.parse_args()
    if args.engine != "pytorch" and (args.only == "training" or args.device != "cpu"):
        parser.error(f"{args.engine} measures inference on the CPU alone")
    torch.set_num_threads(args.threads)
    layouts = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}
    if args.engine != "pytorch":
        layouts.pop("channels-last")
    measured = [{**measure(args, layout), "layout": name} for name, layout in layouts.items()]
    best = max(measured, key=lambda m: m["images_per_second"])
    if args.device != "cpu":
        best["most_memory_mib"] = torch.cuda.max_memory_allocated() / 2**20
    print(json.dumps({**best, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
