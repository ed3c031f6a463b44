from __future__ import annotations

import multiprocessing

print("imported as", __name__, flush=True)

if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=print, args=("child",))
    child.start()
    child.join()
