// SPDX-License-Identifier: MIT
//
// Java's ForkJoinPool (first argument forkjoin) and its fixed thread pool
// (fixed), with the same workloads, rows and output as harness.h has for C. The
// virtual machine gets a second of each workload, uncounted, in which it
// compiles. Memory is what of the heap is used after a collection.
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.InputStream;
import java.io.OutputStream;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorCompletionService;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ForkJoinPool;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.RecursiveTask;
import java.util.concurrent.atomic.LongAdder;
import java.util.stream.DoubleStream;

public final class Bench {
    private static final int WORKERS = 2;
    private static boolean forkJoin;
    private static boolean quick;
    private static ExecutorService pool;
    private static final LongAdder ticks = new LongAdder();

    private interface Action {
        void run() throws Exception;
    }

    // ---- as in harness.c ----

    private static int size(int full) {
        return quick ? Math.max(1, full / 100) : full;
    }

    private static double seconds() {
        return quick ? 0.01 : 0.25;
    }

    private static double now() {
        return System.nanoTime() / 1e9;
    }

    private static void check(boolean right, String what) {
        if (!right) {
            throw new IllegalStateException(what);
        }
    }

    private static void row(String workload, double value, String unit, Object... parameters) {
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < parameters.length; i += 2) {
            text.append(i == 0 ? "" : ", ").append('"').append(parameters[i]).append("\": ")
                .append(parameters[i + 1]);
        }
        System.out.printf(Locale.ROOT,
            "{\"program\": \"%s\", \"workload\": \"%s\", \"parameters\": {%s}, \"value\": %.6g, "
            + "\"unit\": \"%s\"}%n",
            forkJoin ? "Java ForkJoinPool" : "Java fixed pool", workload, text, value, unit);
    }

    private static void open(int workers) {
        pool = forkJoin ? new ForkJoinPool(workers) : Executors.newFixedThreadPool(workers);
    }

    private static double time(Action action) throws Exception {
        double begin = now();
        action.run();
        return now() - begin;
    }

    // ---- rounds, of which those count that began and ended with CPUs near each other: rounds.c

    private static final double PATIENCE = 2;
    private static final double ENOUGH = 1 / 5.0;
    private static InputStream fromMeter;
    private static OutputStream toMeter;
    private static int nNear;
    private static int nApart;
    private static int nMixed;

    private static boolean areNear() throws Exception {
        String value = System.getenv("BENCH_METER");
        if (value == null || quick) {
            return true;
        }
        if (fromMeter == null) {
            String[] ends = value.split(",");
            fromMeter = new FileInputStream("/dev/fd/" + ends[0]);
            toMeter = new FileOutputStream("/dev/fd/" + ends[1]);
        }
        toMeter.write('?');
        return fromMeter.read() == 'n';
    }

    private static final class Rounds {
        final double[] sum = new double[3]; // how often, seconds, seconds of another kind
        boolean mixed; // too few count, so all do
        private final double[] apart = new double[3];
        private final double wanted;
        private final double giveUp = now() + PATIENCE;
        private boolean near;

        Rounds(double wanted) throws Exception {
            this.wanted = wanted;
            near = areNear();
        }

        boolean goOn() throws Exception {
            if (sum[1] >= wanted) {
                return false;
            }
            if ((sum[1] == 0 && apart[1] == 0) || now() < giveUp) {
                for (; !near && now() < giveUp; near = areNear()) {
                    Thread.sleep(5);
                }
                return true;
            }
            mixed = sum[1] < ENOUGH * wanted;
            if (mixed) {
                nMixed++;
                addTo(sum, apart);
            }
            return false;
        }

        boolean add(double... round) throws Exception {
            boolean counts = near;
            near = areNear();
            counts &= near;
            nNear += counts ? 1 : 0;
            nApart += counts ? 0 : 1;
            addTo(counts ? sum : apart, round);
            return counts;
        }

        private static void addTo(double[] sum, double[] round) {
            for (int i = 0; i < round.length; i++) {
                sum[i] += round[i];
            }
        }
    }

    private static void reportRounds() {
        System.out.printf("{\"rounds\": {\"near\": %d, \"apart\": %d, \"mixed\": %d}}%n", nNear,
            nApart, nMixed);
    }

    // Of the last action: seconds of another kind.
    private static double rest;

    // How often, the seconds that took, and of these those in rest; after enough of them
    // to be compiled.
    private static double[] measure(Action action) throws Exception {
        for (double begin = now(); now() - begin < seconds() * 2.5;) {
            action.run();
        }
        Rounds rounds = new Rounds(seconds());
        while (rounds.goOn()) {
            int n = 0;
            double others = 0;
            action.run(); // not counted: threads and caches have gone to sleep
            double begin = now();
            double took = 0;
            for (; took < seconds() / 10; took = now() - begin, n++) {
                action.run();
                others += rest;
            }
            rounds.add(n, took, others);
        }
        return rounds.sum;
    }

    // Seconds that one of many takes.
    private static double round(Action action) throws Exception {
        double[] sum = measure(action);
        return sum[1] / sum[0];
    }

    private static double quantile(double[] sorted, double q) {
        return sorted[(int) (q * (sorted.length - 1) + 0.5)];
    }

    private static long work(long iterations) {
        long x = 88172645463325252L;
        for (long i = 0; i < iterations; i++) {
            x ^= x << 13;
            x ^= x >>> 7;
            x ^= x << 17;
        }
        return x;
    }

    // ---- workloads ----

    private static List<Future<Integer>> submitAll(int n) {
        List<Future<Integer>> futures = new ArrayList<>(n);
        for (int i = 0; i < n; i++) {
            int k = i;
            Callable<Integer> task = () -> k + 1;
            futures.add(pool.submit(task));
        }
        return futures;
    }

    private static void collect(List<Future<Integer>> futures) throws Exception {
        for (int i = 0; i < futures.size(); i++) {
            check(futures.get(i).get() == i + 1, "a result");
        }
    }

    private static void floodOnce(int producers, int batch) throws Exception {
        if (producers == 1) {
            collect(submitAll(batch));
            return;
        }
        Thread[] threads = new Thread[producers];
        for (int i = 0; i < producers; i++) {
            threads[i] = new Thread(() -> {
                try {
                    collect(submitAll(batch));
                } catch (Exception e) {
                    throw new IllegalStateException(e);
                }
            });
            threads[i].start();
        }
        for (Thread thread : threads) {
            thread.join();
        }
    }

    private static void flood() throws Exception {
        for (int producers = 1; producers <= 4; producers += 3) {
            int n = producers;
            int batch = size(100000) / producers;
            open(WORKERS);
            double took = round(() -> floodOnce(n, batch));
            row(n == 1 ? "flood, 1 producer" : "flood, 4 producers", n * batch / took / 1e6,
                "M futures/s", "workers", WORKERS, "producers", n, "batch", batch);
            pool.shutdown();
        }
    }

    private static void post(int n) throws Exception {
        long goal = ticks.sum() + n;
        for (int i = 0; i < n; i++) {
            pool.execute(ticks::increment);
        }
        while (ticks.sum() < goal) {
            Thread.sleep(0, 20000);
        }
    }

    private static void detached() throws Exception {
        int batch = size(500000);
        open(WORKERS);
        double took = round(() -> post(batch));
        row("detached flood", batch / took / 1e6, "M tasks/s", "workers", WORKERS, "producers", 1,
            "batch", batch);
    }

    private static void many() throws Exception {
        int batch = size(100000);
        List<Callable<Integer>> tasks = new ArrayList<>(batch);
        for (int i = 0; i < batch; i++) {
            int k = i;
            tasks.add(() -> k + 1);
        }
        open(WORKERS);
        double took = round(() -> collect(pool.invokeAll(tasks)));
        row("submit_many with results", batch / took / 1e6, "M futures/s", "workers", WORKERS,
            "producers", 1, "batch", batch);
    }

    private static final class Fib extends RecursiveTask<Long> {
        private static final long serialVersionUID = 1;
        private final int n;
        private final boolean both;

        Fib(int n, boolean both) {
            this.n = n;
            this.both = both;
        }

        static long fib(int n, boolean both) {
            if (n < 2) {
                return n;
            }
            Fib other = new Fib(n - 1, both);
            other.fork();
            long own;
            if (both) {
                Fib second = new Fib(n - 2, both);
                second.fork();
                own = second.join();
            } else {
                own = fib(n - 2, both);
            }
            return own + other.join();
        }

        @Override
        protected Long compute() {
            return fib(n, both);
        }
    }

    private static void fibOnce(int n, long right, boolean both) {
        check(((ForkJoinPool) pool).invoke(new Fib(n, both)) == right, "fib");
    }

    private static void fib() throws Exception {
        int n = quick ? 17 : 27;
        long value = 0;
        long next = 1;
        for (int i = 0; i < n; i++) {
            long sum = value + next;
            value = next;
            next = sum;
        }
        long right = value;
        open(WORKERS);
        double one = round(() -> fibOnce(n, right, false));
        row("fork-join, one child forked", (next - 1) / one / 1e6, "M forks/s", "workers", WORKERS,
            "n", n);
        double both = round(() -> fibOnce(n, right, true));
        row("fork-join, both children forked", (next - 1) * 2 / both / 1e6, "M forks/s", "workers",
            WORKERS, "n", n);
    }

    private static void trip() throws Exception {
        pool.submit(() -> { }).get();
    }

    // Round trips in us, sorted. anyhow: however far the CPUs are apart.
    private static double[] trips(int most, boolean anyhow) throws Exception {
        double[] near = new double[most];
        double[] apart = new double[most];
        int n = 0;
        int others = 0;
        for (double end = now() + seconds() * 2.5; now() < end;) {
            trip();
        }
        Rounds rounds = new Rounds(seconds() * 2);
        double deadline = now() + seconds() * 2;
        while (n < most && ((anyhow ? now() < deadline : rounds.goOn())
            || n + others < most / 20 + 1)) {
            double[] us = new double[most - n];
            double warm = now();
            for (int i = 0; i < most / 20 + 1 && now() - warm < seconds() / 10; i++) {
                trip(); // not counted
            }
            int k = 0;
            double begin = now();
            do {
                long submitted = System.nanoTime();
                trip();
                us[k++] = (System.nanoTime() - submitted) / 1e3;
            } while (k < us.length && now() - begin < seconds() / 10);
            if (anyhow || rounds.add(k, now() - begin)) {
                System.arraycopy(us, 0, near, n, k);
                n += k;
            } else {
                others = others + k > most ? 0 : others;
                System.arraycopy(us, 0, apart, others, k);
                others += k;
            }
        }
        double[] all = Arrays.copyOf(near, n);
        if (rounds.mixed) {
            all = DoubleStream.concat(Arrays.stream(near, 0, n), Arrays.stream(apart, 0, others))
                .toArray();
        }
        Arrays.sort(all);
        return all;
    }

    private static void reportTrips(String name, boolean anyhow) throws Exception {
        open(WORKERS);
        double[] us = trips(size(20000), anyhow);
        row(name + " p50", quantile(us, 0.5), "us", "workers", WORKERS, "tasks", us.length);
        row(name + " p99", quantile(us, 0.99), "us", "workers", WORKERS, "tasks", us.length);
        row(name + " p99.9", quantile(us, 0.999), "us", "workers", WORKERS, "tasks", us.length);
    }

    private static void roundTripBusy() throws Exception {
        List<Process> hogs = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            hogs.add(new ProcessBuilder("sh", "-c", "while kill -0 $PPID; do i=0; while [ $i -lt "
                + "100000 ]; do i=$((i + 1)); done; done").start());
        }
        reportTrips("round trip, busy CPUs,", true);
        hogs.forEach(Process::destroyForcibly);
    }

    private static void wakeUp() throws Exception {
        int n = size(100);
        double[] us = new double[n];
        open(WORKERS);
        trips(size(20000), true);
        for (int i = 0; i < n; i++) {
            long[] started = new long[1];
            Thread.sleep(10);
            long begin = System.nanoTime();
            pool.submit(() -> {
                started[0] = System.nanoTime();
            }).get();
            us[i] = (started[0] - begin) / 1e3;
        }
        Arrays.sort(us);
        row("wake-up after 10 ms idle p50", quantile(us, 0.5), "us", "workers", WORKERS, "tasks", n);
        row("wake-up after 10 ms idle p90", quantile(us, 0.9), "us", "workers", WORKERS, "tasks", n);
    }

    private static double submitted;

    private static void completeOnce(int n) throws Exception {
        ExecutorCompletionService<Integer> done = new ExecutorCompletionService<>(pool);
        long sum = 0;
        for (int i = 0; i < n; i++) {
            int k = i;
            done.submit(() -> k + 1);
        }
        submitted = now();
        for (int i = 0; i < n; i++) {
            sum += done.take().get();
        }
        rest = now() - submitted;
        check(sum == (long) n * (n + 1) / 2, "results");
    }

    private static void asCompleted() throws Exception {
        int n = size(200000);
        open(WORKERS);
        double[] sum = measure(() -> completeOnce(n));
        row("as_completed, from the last submit on", n * sum[0] / sum[2] / 1e6, "M futures/s",
            "workers", WORKERS, "futures", n);
        row("as_completed", n * sum[0] / sum[1] / 1e6, "M futures/s", "workers", WORKERS, "futures",
            n);
    }

    private static long callbackSum;

    private static void callbackOnce(int n) throws Exception {
        LinkedBlockingQueue<Runnable> loop = new LinkedBlockingQueue<>();
        callbackSum = 0;
        for (int i = 0; i < n; i++) {
            int k = i;
            CompletableFuture.supplyAsync(() -> k + 1, pool)
                .thenAcceptAsync(result -> callbackSum += result, loop::add);
        }
        for (int i = 0; i < n; i++) {
            loop.take().run();
        }
        check(callbackSum == (long) n * (n + 1) / 2, "results of callbacks");
    }

    private static void callback() throws Exception {
        int n = size(100000);
        open(WORKERS);
        double took = round(() -> callbackOnce(n));
        row("callback in a loop", n / took / 1e6, "M callbacks/s", "workers", WORKERS, "batch", n);
    }

    private static volatile long sink;

    private static double plainly(int n, long iterations) throws Exception {
        Thread[] threads = new Thread[WORKERS];
        double begin = now();
        for (int t = 0; t < WORKERS; t++) {
            threads[t] = new Thread(() -> {
                for (int i = 0; i < n / WORKERS; i++) {
                    sink = work(iterations);
                }
            });
            threads[t].start();
        }
        for (Thread thread : threads) {
            thread.join();
        }
        return now() - begin;
    }

    private static void workAll(int n, long iterations) throws Exception {
        List<Future<?>> futures = new ArrayList<>(n);
        for (int i = 0; i < n; i++) {
            futures.add(pool.submit(() -> {
                sink = work(iterations);
            }));
        }
        for (Future<?> future : futures) {
            future.get();
        }
    }

    private static void work() throws Exception {
        long iterations = quick ? 1000000 : 20000000;
        open(WORKERS);
        plainly(20000, 1000);
        double rate = iterations / (plainly(WORKERS, iterations) * 1e6);
        for (int us : new int[] {1, 10, 20, 100}) {
            int n = (int) ((quick ? 0.004 : 0.15) * 1e6 / us) * WORKERS;
            long each = (long) (rate * us);
            workAll(n, each);
            double ideal = plainly(n, each) / 2;
            double took = time(() -> workAll(n, each));
            ideal += plainly(n, each) / 2;
            row("tasks of " + us + " us", ideal / took * 100, "% of ideal", "workers", WORKERS,
                "tasks", n);
        }
    }

    // Occupies every worker until the latch opens. One after the other: of two
    // tasks submitted at once to an idle ForkJoinPool, Java 17 may leave the
    // second one lying, and its worker asleep.
    private static CountDownLatch occupy() throws Exception {
        CountDownLatch gate = new CountDownLatch(1);
        for (int i = 0; i < WORKERS; i++) {
            CountDownLatch inside = new CountDownLatch(1);
            pool.submit(() -> {
                inside.countDown();
                gate.await();
                return null;
            });
            inside.await();
        }
        return gate;
    }

    private static double usedMemory() {
        System.gc();
        return Runtime.getRuntime().totalMemory() - Runtime.getRuntime().freeMemory();
    }

    private static void memory() throws Exception {
        int n = size(2000000);
        open(WORKERS);
        collect(submitAll(1000));
        CountDownLatch gate = occupy();
        double before = usedMemory();
        List<Future<Integer>> futures = submitAll(n);
        double bytes = (usedMemory() - before) / n;
        row("memory of a pending future", bytes, "bytes", "workers", WORKERS, "futures", n);
        gate.countDown();
        collect(futures);
    }

    private static double cancelOnce(int n) throws Exception {
        CountDownLatch gate = occupy();
        List<Future<Integer>> futures = submitAll(n);
        double took = time(() -> {
            for (Future<Integer> future : futures) {
                check(future.cancel(false), "cancel");
            }
        });
        gate.countDown();
        return took;
    }

    private static void cancel() throws Exception {
        int n = size(100000);
        int rounds = 0;
        double took = 0;
        open(WORKERS);
        for (double begin = now(); now() - begin < seconds() * 2;) {
            cancelOnce(n);
        }
        for (double begin = now(); rounds == 0 || now() - begin < seconds(); rounds++) {
            took += cancelOnce(n);
        }
        row("cancel", took / n / rounds * 1e9, "ns", "workers", WORKERS, "futures", n);
    }

    // Of every thread, those of the virtual machine included, but this one.
    private static double switches() throws Exception {
        double sum = 0;
        String own = "/" + ProcessHandle.current().pid();
        List<Path> tasks = new ArrayList<>();
        try (var paths = Files.newDirectoryStream(Path.of("/proc/self/task"))) {
            paths.forEach(tasks::add);
        }
        for (Path task : tasks) {
            String name = Files.readString(task.resolve("comm")).trim();
            if (name.equals("java") && !task.toString().endsWith(own)) {
                continue; /* the first Java thread, which is this one */
            }
            for (String line : Files.readAllLines(task.resolve("status"))) {
                if (line.contains("voluntary_ctxt_switches:")) {
                    sum += Double.parseDouble(line.substring(line.indexOf(':') + 1).trim());
                }
            }
        }
        return sum;
    }

    private static double cpuSeconds() {
        var system = (com.sun.management.OperatingSystemMXBean)
            ManagementFactory.getOperatingSystemMXBean();
        return system.getProcessCpuTime() / 1e9;
    }

    private static void idle() throws Exception {
        int milliseconds = quick ? 100 : 1000;
        open(WORKERS);
        floodOnce(1, 1000);
        switches();
        cpuSeconds();
        Thread.sleep(500);
        double switches = switches();
        double cpu = cpuSeconds();
        Thread.sleep(milliseconds);
        cpu = cpuSeconds() - cpu;
        switches = switches() - switches;
        row("idle pool: CPU time", cpu * 1e6 / milliseconds * 1e3, "us/s", "workers", WORKERS);
        row("idle pool: wake-ups", switches / milliseconds * 1e3, "1/s", "workers", WORKERS);
    }

    private static void run(String name) throws Exception {
        switch (name) {
            case "flood" -> flood();
            case "detached" -> detached();
            case "many" -> many();
            case "fib" -> fib();
            case "round-trip" -> reportTrips("round trip", false);
            case "round-trip-busy" -> roundTripBusy();
            case "wake-up" -> wakeUp();
            case "as-completed" -> asCompleted();
            case "callback" -> callback();
            case "work" -> work();
            case "memory" -> memory();
            case "cancel" -> cancel();
            case "idle" -> idle();
            default -> throw new IllegalArgumentException(name);
        }
    }

    public static void main(String[] args) throws Exception {
        List<String> names = new ArrayList<>(List.of("flood", "detached", "many", "fib",
            "round-trip", "round-trip-busy", "wake-up", "as-completed", "callback", "work",
            "memory", "cancel", "idle"));
        forkJoin = args[0].equals("forkjoin");
        if (forkJoin) {
            names.remove("cancel"); /* now and then the task that holds a worker is left lying */
        } else {
            names.remove("fib"); /* a fixed pool whose tasks wait for tasks stops for ever */
        }
        boolean named = false;
        for (String arg : Arrays.asList(args).subList(1, args.length)) {
            if (arg.equals("--quick")) {
                quick = true;
            } else if (arg.equals("--list")) {
                names.forEach(System.out::println);
                return;
            } else {
                run(arg);
                named = true;
            }
        }
        for (String name : named ? List.<String>of() : names) {
            run(name);
        }
        reportRounds();
        System.exit(0);
    }
}
