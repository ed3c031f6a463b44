import time
import asyncio

async def f1():
	await asyncio.sleep(1)#这是非阻塞的协程 ,类似于yeild
	print("f1:done")

async def f2():
	await asyncio.sleep(1)#非阻塞的协程 ,类似于yeild
	print("f2:done")

async def main():
	await asyncio.gather(f1(),f2());

if __name__ == "__main__":
	start = time.time();
	asyncio.run(main());#入口
	time2 = time.time();
	print(f"耗时{time2-start:.2f} ");
