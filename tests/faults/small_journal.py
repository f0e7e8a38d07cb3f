"""The service with a journal that is soon full: run with `serve`, as `model-service` is.

Everything else is as it is; what fills 16 MiB after some 27,000 calls fills this after a few
hundred.
"""

import functools
import os

from model_service.cli import main
from model_service.usage.metering import Metering

#: Bytes of a segment.
SEGMENT = 128 * 1024


if __name__ == "__main__":
    most = int(os.environ["JOURNAL_MOST_BYTES"])
    opened = functools.partial(Metering.open, segment_bytes=SEGMENT, most_bytes=most)
    Metering.open = opened  # type: ignore[method-assign]
    main()
