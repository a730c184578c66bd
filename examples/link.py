"""Links a mention, with and without its picture, and prints the parts of each score.

make demo && python examples/link.py
"""

from dim import DIMLinker

SENTENCE = "[[Turkey]] was everywhere that autumn."

linker = DIMLinker.from_pretrained("demo/model", kb="demo/kb")
for image in (None, "demo/example.png"):
    links = linker(SENTENCE, image=image, k=3, why=True)
    print(f"\n{SENTENCE} {'with ' + image if image else 'without a picture'}")
    for entity in links:
        print(f"{entity.score:6.2f}  {100 * entity.confidence:3.0f} %  {entity.name}: {entity.description}")
        print(f"        found by {entity.why['found_by']}, attention {entity.why['attention']}")

# Several mentions in one sentence are linked one by one.
for links in linker.link_sentence("[[Turkey]] plays [[Japan]]."):
    print(links[0].name)
