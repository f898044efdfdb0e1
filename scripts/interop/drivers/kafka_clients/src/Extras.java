// What Java programs do with a broker beyond the table of scenarios: one check a line, each against what Kafka's own broker answers.
//
// Runs all checks of Administration, Positions and Refusals, tells how each went, and ends with 1 if one failed. Started by
// scripts/interop/kafka_clients.sh; the driver does not use it.

import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Properties;
import java.util.concurrent.ExecutionException;

import org.apache.kafka.clients.admin.Admin;

public final class Extras {
    /** Something to try; it throws if the broker does not do as it should. */
    interface Check {
        void run() throws Exception;
    }

    private final List<String> failed = new ArrayList<>();
    private int passed = 0;

    public static void main(String[] arguments) throws Exception {
        String address = arguments[0];
        Properties settings = Driver.settings(address);
        settings.put("default.api.timeout.ms", "10000");
        settings.put("request.timeout.ms", "5000");
        Extras extras = new Extras();
        try (Admin admin = Admin.create(settings)) {
            new Administration(admin, address).run(extras);
            new Positions(admin, address).run(extras);
            new Refusals(admin, address).run(extras);
        }
        System.out.println(extras.passed + " of " + (extras.passed + extras.failed.size()) + " checks passed");
        // Not by returning: a client that hangs must not keep the JVM alive.
        System.exit(extras.failed.isEmpty() ? 0 : 1);
    }

    void check(String name, Check check) {
        long started = System.nanoTime();
        String verdict = "ok";
        try {
            check.run();
            passed++;
        } catch (Exception | AssertionError error) {
            failed.add(name);
            verdict = "FAILED: " + cause(error) + " at " + where(error);
        }
        System.out.printf("%6.2f s  %s: %s%n", (System.nanoTime() - started) / 1e9, name, verdict);
    }

    /** {@code what} was found and should have been {@code expected}. */
    static void same(Object what, Object expected) {
        if (!Objects.equals(what, expected)) {
            throw new AssertionError("found " + what + ", expected " + expected);
        }
    }

    static void require(boolean condition, Object otherwise) {
        if (!condition) {
            throw new AssertionError(otherwise);
        }
    }

    /** The check must end in this error, whose words must contain {@code words}. */
    static void refused(Class<? extends Exception> expected, String words, Check check) throws Exception {
        try {
            check.run();
        } catch (Exception error) {
            Throwable cause = cause(error);
            require(expected.isInstance(cause) && String.valueOf(cause.getMessage()).contains(words),
                "refused with " + cause + ", expected " + expected.getSimpleName() + " and \"" + words + "\"");
            return;
        }
        throw new AssertionError("not refused, expected " + expected.getSimpleName());
    }

    private static Throwable cause(Throwable error) {
        return error instanceof ExecutionException && error.getCause() != null ? error.getCause() : error;
    }

    /** The line of these checks that failed. */
    private static String where(Throwable error) {
        for (StackTraceElement line : error.getStackTrace()) {
            if (line.getFileName() != null && List.of("Administration.java", "Positions.java", "Refusals.java").contains(line.getFileName())) {
                return line.getFileName() + ":" + line.getLineNumber();
            }
        }
        return "an unknown line";
    }
}
