"""Your own expert: any class that answers a question about a picture.

make demo && python examples/expert.py
"""

from collections.abc import Sequence

from PIL import Image

from dim import DIMLinker, load_picture


class MainColour:
    """Names the dominant colour of a picture. A real expert is `dim.Blip2Expert`."""

    identity = "main-colour@1"  # part of the key of cached captions

    def answer(
        self, images: Sequence[Image.Image], prompts: str | Sequence[str], batch_size: int = 8, max_new_tokens: int = 20
    ) -> list[str]:
        """Returns one caption per picture."""
        means = [image.resize((1, 1)).getpixel((0, 0)) for image in images]
        return [f"something {('red', 'green', 'blue')[mean.index(max(mean))]}" for mean in means]


picture = load_picture("demo/example.png")
[answer] = MainColour().answer([picture], "What is in the picture?")
print(answer)

linker = DIMLinker.from_pretrained("demo/model", kb="demo/kb")
print(linker("[[Turkey]] was everywhere.", image=picture, expert_answer=answer, k=1))
