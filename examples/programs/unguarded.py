from __future__ import annotations

import multiprocessing

# No `if __name__ == "__main__":` here, and that is the mistake.
multiprocessing.get_context("spawn").Process(target=print, args=("child",)).start()
