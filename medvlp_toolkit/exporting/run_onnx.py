"""Score a picture with an exported model: python run_onnx.py model.onnx radiograph.png."""

import json
import sys

import numpy as np
from PIL import Image, ImageOps


def prepare(path, steps):
    """(1, C, H, W) float32: what the network reads, of a PNG or JPEG file."""
    (height, width), mode = steps["size"], "L" if steps["channels"] == 1 else "RGB"
    file = Image.open(path)
    size, lying = (width, height), file.getexif().get(0x0112, 1) > 4  # EXIF's orientation
    wide, tall = (file.height, file.width) if lying else file.size
    if steps["fit"] != "stretch":  # the aspect ratio is kept
        scale = {"pad": min, "crop": max}[steps["fit"]](width / wide, height / tall)
        size = (max(1, round(wide * scale)), max(1, round(tall * scale)))
    file.draft(mode, size[::-1] if lying else size)  # a large JPEG is decoded no larger than needed
    picture = ImageOps.exif_transpose(file)
    if picture.has_transparency_data:  # transparent pixels are black
        black = Image.new("RGBA", picture.size, "black")
        picture = Image.alpha_composite(black, picture.convert("RGBA")).convert("RGB")
    if picture.mode[0] in "IF":  # more than 8 bits: from the smallest value to the largest
        values = np.asarray(picture, np.float64)
        picture = Image.fromarray(np.rint((values - values.min()) * (255 / (np.ptp(values) or 1))).astype(np.uint8))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    picture = picture.convert(mode).resize(size, Image.Resampling.BILINEAR)
    picture = picture.crop((left, top, left + width, top + height))
    pixels = np.asarray(picture, np.float32).reshape(height, width, -1).transpose(2, 0, 1)
    return to_input(pixels, steps)[None]


def to_input(pixels, steps):
    """(C, *input_size) float32 of pixels (C, *size) from 0 to 255."""
    height, width = steps["input_size"]
    if pixels.shape[1:] != (height, width):  # bilinear, with antialiasing
        shrunk = [Image.fromarray(part).resize((width, height), Image.Resampling.BILINEAR) for part in pixels]
        pixels = np.stack([np.asarray(part) for part in shrunk])
    mean, std = (np.array(steps[name], np.float32).reshape(-1, 1, 1) for name in ("mean", "std"))
    return (pixels / 255 - mean) / std


if __name__ == "__main__":
    import onnxruntime

    session = onnxruntime.InferenceSession(sys.argv[1])
    about = session.get_modelmeta().custom_metadata_map
    entities, steps = json.loads(about["entities"]), json.loads(about["preprocessing"])
    (probability,) = session.run(["probability"], {"image": prepare(sys.argv[2], steps)})
    for number in np.argsort(-probability[0]):
        print(f"{probability[0, number]:.6f}  {entities[number]}")
