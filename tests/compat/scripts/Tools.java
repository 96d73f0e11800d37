import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs Kafka's command line tools one after the other in one JVM, because a JVM takes seconds to start.
 *
 * Each line of standard input is one run, fields separated by tabs: file for standard output, file for
 * standard error, file for standard input or "-", main class, arguments. The answer is "exit CODE".
 */
public final class Tools {
    /** Thrown instead of ending the JVM. */
    private static final class Exited extends Error {
        final int code;

        Exited(int code) {
            super(null, null, false, false);
            this.code = code;
        }
    }

    private static Integer firstCode;
    private static final List<Runnable> atEnd = new ArrayList<>();

    public static void main(String[] unused) throws Exception {
        PrintStream answers = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
        BufferedReader runs = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        Exit.setExitProcedure((code, message) -> stop(code));
        Exit.setHaltProcedure((code, message) -> stop(code));
        Exit.setShutdownHookAdder((name, hook) -> atEnd.add(hook));
        answers.println("ready");
        for (String line = runs.readLine(); line != null; line = runs.readLine()) {
            answers.println("exit " + run(line.split("\t", -1)));
        }
        Runtime.getRuntime().halt(0);
    }

    private static void stop(int code) {
        // A tool may catch what we throw and exit again, with another code: the first one counts.
        if (firstCode == null) {
            firstCode = code;
        }
        throw new Exited(code);
    }

    private static int run(String[] fields) throws Exception {
        firstCode = null;
        try (PrintStream out = new PrintStream(new FileOutputStream(fields[0]), true, StandardCharsets.UTF_8);
                PrintStream err = new PrintStream(new FileOutputStream(fields[1]), true, StandardCharsets.UTF_8);
                InputStream in = fields[2].equals("-") ? new ByteArrayInputStream(new byte[0]) : new FileInputStream(fields[2])) {
            System.setOut(out);
            System.setErr(err);
            System.setIn(in);
            String[] arguments = Arrays.copyOfRange(fields, 4, fields.length);
            try {
                Class.forName(fields[3]).getMethod("main", String[].class).invoke(null, (Object) arguments);
            } catch (InvocationTargetException thrown) {
                if (!(thrown.getCause() instanceof Exited)) {
                    thrown.getCause().printStackTrace(err);
                    return 1;
                }
            }
            // What a tool does when its JVM ends, such as sending the last records.
            atEnd.forEach(Runnable::run);
            atEnd.clear();
            return firstCode == null ? 0 : firstCode;
        }
    }
}
