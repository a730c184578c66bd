"""Confidence and NIL: fits a calibration on the validation split, then links a mention that no entity fits.

make demo && python examples/nil.py
"""

from dim import DIMLinker, calibrate, load_mentions

linker = DIMLinker.from_pretrained("demo/model", kb="demo/kb")
validation = load_mentions("datasets/namesakes", "validation").select(range(200))
linker.calibration = calibrate(linker, validation, nil_share=0.2)
print(f"temperature {linker.calibration.temperature:.2f}, threshold {linker.calibration.threshold:.2f}")
print(linker.calibration.measured)

for sentence in ("[[Turkey]] was everywhere that autumn.", "[[Qwertzuiop]] was everywhere that autumn."):
    links = linker(sentence, k=1)
    print(sentence, "NIL" if links.is_nil else links[0].name, f"(NIL {100 * links.nil:.0f} %)")
