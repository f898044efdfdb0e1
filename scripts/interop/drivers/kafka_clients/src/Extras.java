// What Java programs do with a broker beyond the table of scenarios, each against what Kafka's own broker answers.
//
// Runs all checks of Administration, Positions and Refusals and tells how each went. The driver answers `extras` with it.

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Properties;
import java.util.concurrent.ExecutionException;

import org.apache.kafka.clients.admin.Admin;

final class Extras {
    /** Something to try; it throws if the broker does not do as it should. */
    interface Check {
        void run() throws Exception;
    }

    private final List<Map<String, Object>> checks = new ArrayList<>();

    /** Runs all checks; name, outcome and what was found for each. */
    static Map<String, Object> run(String address) {
        Properties settings = Driver.settings(address);
        settings.put("default.api.timeout.ms", "10000");
        settings.put("request.timeout.ms", "5000");
        Extras extras = new Extras();
        try (Admin admin = Admin.create(settings)) {
            new Administration(admin, address).run(extras);
            new Positions(admin, address).run(extras);
            new Refusals(admin, address).run(extras);
        }
        return Map.of("checks", extras.checks);
    }

    void check(String name, Check check) {
        long started = System.nanoTime();
        String detail = "";
        try {
            check.run();
        } catch (Exception | AssertionError error) {
            detail = cause(error) + " at " + where(error);
        }
        System.err.printf("%6.2f s  %s %s%n", (System.nanoTime() - started) / 1e9, name, detail);
        checks.add(Map.of("name", name, "ok", detail.isEmpty(), "detail", detail));
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
