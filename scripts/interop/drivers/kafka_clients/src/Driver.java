// The interop runner's driver for Apache Kafka's own Java client: one JSON request a line on stdin, one answer a line on stdout.
//
// Says which operations there are and turns failures into answers. What they do is in Topics, Writing and Reading; what is
// asked and answered is the table of operations in scripts/interop. Started by `start`.

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ExecutionException;

import org.apache.kafka.clients.admin.Admin;

public final class Driver {
    private final String address;
    private final Topics topics;
    private final Writing writing;
    private final Reading reading;

    private Driver(String address) {
        this.address = address;
        topics = new Topics(address);
        writing = new Writing(address);
        reading = new Reading(address);
    }

    public static void main(String[] arguments) throws Exception {
        Driver driver = new Driver(arguments[0]);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintWriter out = new PrintWriter(new OutputStreamWriter(System.out, StandardCharsets.UTF_8));
        boolean open = true;
        for (String line = in.readLine(); open && line != null; line = open ? in.readLine() : null) {
            Request request = new Request(Json.parse(line));
            open = !request.text("op").equals("bye");
            out.println(Json.write(driver.answer(request)));
            out.flush();
        }
        driver.close();
    }

    private Map<String, Object> answer(Request request) {
        Map<String, Object> answer = new LinkedHashMap<>();
        answer.put("ok", true);
        try {
            answer.putAll(perform(request));
        } catch (Exception error) {
            answer.clear();
            answer.put("ok", false);
            answer.put("error", described(error));
        }
        return answer;
    }

    private Map<String, Object> perform(Request request) throws Exception {
        switch (request.text("op")) {
            case "hello": return hello();
            case "create_topic": return topics.create(request);
            case "alter_topic": return topics.alter(request);
            case "describe_topic": return topics.describe(request);
            case "add_partitions": return topics.addPartitions(request);
            case "delete_records": return topics.deleteRecords(request);
            case "delete_topic": return topics.delete(request);
            case "list_topics": return topics.list();
            case "produce": return writing.produce(request);
            case "consume": return reading.consume(request);
            case "tail_start": return reading.tailStart(request);
            case "tail_read": return reading.tailRead(request);
            case "watermarks": return reading.watermarks(request);
            case "offset_for_time": return reading.offsetForTime(request);
            case "extras": return Extras.run(address);
            case "bye": return Map.of();
            default: throw new UnsupportedOperationException("no operation " + request.text("op"));
        }
    }

    private static Map<String, Object> hello() throws IOException {
        return Map.of(
            "client", "kafka-clients",
            "version", version(),
            "language", "Java " + Runtime.version().feature(),
            "codecs", List.of("none", "gzip", "snappy", "lz4", "zstd"),
            "acks", List.of("0", "1", "all"),
            "can", List.of("idempotent", "headers", "null_value", "null_key", "timestamps", "read_timestamp", "by_timestamp", "tail",
                "create_topic", "delete_topic", "alter_topic", "describe_topic", "add_partitions", "delete_records", "list_topics", "extras",
                "group:range", "group:sticky", "group:cooperative-sticky", "group:static", "group:consumer"),
            "cannot", Map.of());
    }

    /** What the client's jar says of itself. */
    private static String version() throws IOException {
        Properties properties = new Properties();
        try (InputStream file = Admin.class.getResourceAsStream("/kafka/kafka-version.properties")) {
            properties.load(file);
        }
        return properties.getProperty("version");
    }

    /** The client's own name of an error, and its words. */
    private static String described(Exception error) {
        Throwable cause = error instanceof ExecutionException && error.getCause() != null ? error.getCause() : error;
        String inner = cause.getCause() == null ? "" : " (" + cause.getCause() + ")";
        return cause.getClass().getSimpleName() + ": " + cause.getMessage() + inner;
    }

    private void close() {
        writing.close();
        reading.close();
        topics.close();
    }

    /** Settings that every client of the driver has: find a restarted broker soon, give up after 30 s. */
    static Properties settings(String address) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", address);
        settings.put("reconnect.backoff.ms", "20");
        settings.put("reconnect.backoff.max.ms", "200");
        settings.put("retry.backoff.ms", "20");
        settings.put("retry.backoff.max.ms", "200");
        settings.put("request.timeout.ms", "15000");
        return settings;
    }
}
