// Sends records with kafka-clients at its best settings for one producer, and prints the seconds that it took.
//
// Usage: java -cp JARS Producer.java ADDRESS TOPIC RECORDS RECORD_BYTES. Called by scripts/ceiling.

import java.util.Properties;
import java.util.Random;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class Producer {
    // Values differ, but making them must not cost what is measured.
    private static final int DISTINCT_VALUES = 1000;
    // As many warm the compiler up before the clock starts.
    private static final int WARM_UP_RECORDS = 50_000;

    public static void main(String[] arguments) throws Exception {
        String topic = arguments[1];
        int records = Integer.parseInt(arguments[2]);
        byte[][] values = new byte[DISTINCT_VALUES][Integer.parseInt(arguments[3])];
        Random random = new Random(1);
        for (byte[] value : values) random.nextBytes(value);
        AtomicReference<Exception> failure = new AtomicReference<>();
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(settings(arguments[0]))) {
            send(producer, topic, values, WARM_UP_RECORDS, failure);
            long started = System.nanoTime();
            send(producer, topic, values, records, failure);
            System.out.printf("%.6f%n", (System.nanoTime() - started) / 1e9);
        }
        if (failure.get() != null) throw failure.get();
    }

    private static void send(KafkaProducer<byte[], byte[]> producer, String topic, byte[][] values, int records,
            AtomicReference<Exception> failure) {
        for (int sent = 0; sent < records; sent++) {
            producer.send(new ProducerRecord<>(topic, values[sent % values.length]), (metadata, exception) -> {
                if (exception != null) failure.set(exception);
            });
        }
        producer.flush();
    }

    private static Properties settings(String address) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", address);
        settings.put("key.serializer", ByteArraySerializer.class.getName());
        settings.put("value.serializer", ByteArraySerializer.class.getName());
        settings.put("acks", "all");
        settings.put("linger.ms", "5");
        settings.put("batch.size", "1000000");
        settings.put("max.request.size", "8000000");
        settings.put("buffer.memory", "268435456");
        settings.put("send.buffer.bytes", "-1");
        settings.put("receive.buffer.bytes", "-1");
        return settings;
    }
}
