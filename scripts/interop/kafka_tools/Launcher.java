// Runs Kafka's command-line tools one after the other in this JVM, for starting one JVM each costs more than all they do.
//
// A line on stdin is a run: files for stdout, stderr and stdin, the class whose main is called, and its arguments, divided by
// the unit separator. The answer is the exit code, alone on a line. A tool that calls System.exit stands still there for ever, on a
// thread of its own, as if its JVM had ended; everything else (argument parsing, clients, output) is the tool's own. Called by run.py.

import java.io.BufferedOutputStream;
import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.security.Permission;
import java.util.Arrays;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.locks.LockSupport;

public final class Launcher {
    /** The exit code of the tool that runs now. */
    private static volatile CompletableFuture<Integer> ended;

    public static void main(String[] unused) throws IOException {
        BufferedReader runs = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream answers = System.out;
        Switch toolOut = new Switch();
        Switch toolErr = new Switch();
        System.setOut(new PrintStream(toolOut, true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(toolErr, true, StandardCharsets.UTF_8));
        catchExits();
        for (String line = runs.readLine(); line != null; line = runs.readLine()) {
            String[] run = line.split("\u001f", -1);
            try (OutputStream out = file(run[0]); OutputStream err = file(run[1]); InputStream in = new FileInputStream(run[2])) {
                toolOut.target = out;
                toolErr.target = err;
                System.setIn(in);
                ended = new CompletableFuture<>();
                Thread tool = new Thread(() -> call(run[3], Arrays.copyOfRange(run, 4, run.length)), "main");
                tool.setDaemon(true);
                tool.start();
                int code = ended.join();
                // What a thread of the tool that is still there says is lost, as it were if its JVM had ended.
                toolOut.target = OutputStream.nullOutputStream();
                toolErr.target = OutputStream.nullOutputStream();
                out.flush();
                err.flush();
                answers.println(code);
                answers.flush();
            }
        }
    }

    private static OutputStream file(String path) throws IOException {
        return new BufferedOutputStream(new FileOutputStream(path));
    }

    /** Where the tool of the moment writes. Scala keeps the first System.out that it sees, so there must be only one. */
    private static final class Switch extends OutputStream {
        private volatile OutputStream target = OutputStream.nullOutputStream();

        @Override
        public void write(int one) throws IOException {
            target.write(one);
        }

        @Override
        public void write(byte[] bytes, int from, int count) throws IOException {
            target.write(bytes, from, count);
        }
    }

    /** Ends as the tool's own JVM would: 0 after a main that returns, 1 and a stack trace after one that throws. */
    private static void call(String tool, String[] arguments) {
        try {
            Class.forName(tool).getMethod("main", String[].class).invoke(null, (Object) arguments);
            ended.complete(0);
        } catch (InvocationTargetException thrown) {
            thrown.getCause().printStackTrace();
            ended.complete(1);
        } catch (ReflectiveOperationException notATool) {
            notATool.printStackTrace();
            ended.complete(127);
        }
    }

    @SuppressWarnings({"removal", "deprecation"})
    private static void catchExits() {
        System.setSecurityManager(new SecurityManager() {
            @Override
            public void checkExit(int code) {
                ended.complete(code);
                while (true) {
                    LockSupport.park();
                }
            }

            @Override
            public void checkPermission(Permission permission) {
                // Everything else is allowed.
            }

            @Override
            public void checkPermission(Permission permission, Object context) {
                // Everything else is allowed.
            }
        });
    }
}
