"""Export of a knowledge base to one Parquet file, with vectors."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dim.common.files import atomic_file
from dim.kb.rows import EXPORTED, VECTOR_WIDTH
from dim.kb.view import EntityView, up_to_date

_ROWS = 1000  # of a row group: 1,000 rows with pictures fit into memory


def write_export(kb: EntityView, path: Path) -> None:
    """Writes every row of a version as Parquet, with [`dim.common.files.atomic_file`]. Outdated vectors are left out.

    Args:
        kb: The knowledge base.
        path: The file; replaced if it exists.
    """
    columns = [name for name in (*EXPORTED, "encoded_hash") if name in kb.schema.names]
    schema = pa.schema([kb.schema.field(name) for name in columns if name != "encoded_hash"])
    if kb.width:  # lists of any length: pyarrow before 25 cannot read lists of one length with nulls from Parquet
        field = pa.field("vector", pa.list_(pa.float32()))
        schema = schema.set(schema.get_field_index("vector"), field).with_metadata({VECTOR_WIDTH: str(kb.width)})
    with atomic_file(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for batch in kb.batches(columns, _ROWS):
            part = pa.Table.from_batches([batch])
            if kb.width:
                valid = up_to_date(part)
                for name in ("encoder", "vector"):
                    index = part.schema.get_field_index(name)
                    nothing = pa.scalar(None, part.schema.field(name).type)
                    part = part.set_column(index, name, pc.if_else(valid, part[name], nothing))
            writer.write_table(part.select(schema.names).cast(schema))
