import asyncio

async def f_3():
	print("f3 doing")
	await f_4()#等f4

async def f_4():
	print("f4 doing")

if __name__=="__main__":
	asyncio.run(f_3())#第一个协程的运行
