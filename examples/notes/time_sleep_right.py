import time
import asyncio

async def f1():
	time.sleep(1)#这是线程阻塞的代码  整个线程会停住一秒
	print("f1:done")

async def f2():
	time.sleep(1)#这是线程阻塞的代码
	print("f2:done")

async def main():
	await f1();
	await f2();

if __name__ == "__main__":
	start = time.time();
	asyncio.run(main());#入口
	time2 = time.time();
	print(f"耗时{time2-start:.2f} ");
