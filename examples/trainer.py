"""Trains a DIM on mentions of the sample with the Trainer of transformers; `dim train` does more, see docs/training.md.

make demo && python examples/trainer.py
"""

from transformers import Trainer, TrainingArguments

from dim import DIMCollator, DIMModel, DIMProcessor, load_entities, load_mentions

DATASET = "datasets/namesakes"

model = DIMModel.from_pretrained("demo/start")
processor = DIMProcessor.from_pretrained("demo/start")
arguments = TrainingArguments(
    output_dir="demo/trainer",
    remove_unused_columns=False,  # the collator reads the columns of the dataset
    per_device_train_batch_size=32,
    num_train_epochs=2,
    learning_rate=1e-3,
    logging_steps=4,
    save_strategy="no",
    report_to="none",
    seed=0,
)
trainer = Trainer(
    model,
    arguments,
    data_collator=DIMCollator(processor, load_entities(DATASET)),
    train_dataset=load_mentions(DATASET, "train").select(range(256)),
)
trainer.train()
losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}")
trainer.save_model("demo/trainer")
processor.save_pretrained("demo/trainer")
