import asyncio
import time
async def async_test(delay:int,content):
    await asyncio.sleep(delay)
    print(content)

async def main():
    task_lady = asyncio.create_task(async_test(1,"lady"))#创建task
    task_killer = asyncio.create_task(async_test(2,"killer9"))
    await task_killer#可以await所有任务,如果只await了耗时短的,那么其他任务没有完成就结束了

if __name__ == '__main__':
    print(f"start at {time.strftime('%X')}")
    asyncio.run(main())
    print(f"end at {time.strftime('%X')}")
