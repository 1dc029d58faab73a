// SPDX-License-Identifier: MIT
//
// The same from C++: the functions link under their C names.
#include <soon.h>
#include <soon/backend.h>

#include <cstdio>
#include <cstring>

static int square(soon_call *call, const void *arg, size_t)
{
    int n;

    std::memcpy(&n, arg, sizeof n);
    n *= n;
    return soon_return(call, &n, sizeof n);
}

int main()
{
    soon_executor *pool = nullptr;
    soon_future *f = nullptr;
    int n = 12, result = 0;

    if (soon_thread_pool_new(nullptr, &pool) != 0 ||
        soon_submit(pool, square, &n, sizeof n, &f) != 0)
        return 1;
    int error = soon_future_result(f, SOON_FOREVER, &result, sizeof result);
    soon_future_unref(f);
    soon_executor_unref(pool);
    std::printf("consumer: C++: %s\n", error == 0 && result == 144 ? "right" : "WRONG");
    return error == 0 && result == 144 ? 0 : 1;
}
