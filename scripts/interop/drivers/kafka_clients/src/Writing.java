// Records written through KafkaProducer; one producer per combination of settings, kept across requests and broker restarts.

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.Future;

import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArraySerializer;

final class Writing {
    private final String address;
    private final Map<String, KafkaProducer<byte[], byte[]>> producers = new HashMap<>();

    Writing(String address) {
        this.address = address;
    }

    Map<String, Object> produce(Request request) throws Exception {
        KafkaProducer<byte[], byte[]> producer = producer(request);
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (Object record : request.list("records")) {
            sent.add(producer.send(record(request.text("topic"), new Request(record))));
        }
        producer.flush();
        List<Long> offsets = new ArrayList<>();
        for (Future<RecordMetadata> one : sent) {
            RecordMetadata where = one.get();
            offsets.add(where.hasOffset() ? where.offset() : null);
        }
        return Map.of("offsets", offsets);
    }

    private static ProducerRecord<byte[], byte[]> record(String topic, Request from) {
        Long timestampMs = from.isNull("timestamp_ms") ? null : from.number("timestamp_ms");
        ProducerRecord<byte[], byte[]> record =
            new ProducerRecord<>(topic, from.count("partition"), timestampMs, from.bytes("key"), from.bytes("value"));
        for (Object header : from.list("headers")) {
            List<?> pair = (List<?>) header;
            record.headers().add((String) pair.get(0), Request.decoded(pair.get(1)));
        }
        return record;
    }

    private KafkaProducer<byte[], byte[]> producer(Request request) {
        Properties settings = Driver.settings(address);
        settings.put("acks", request.text("acks"));
        settings.put("compression.type", request.text("codec"));
        settings.put("enable.idempotence", request.flag("idempotent"));
        settings.put("linger.ms", request.isNull("linger_ms") ? "5" : Long.toString(request.number("linger_ms")));
        settings.put("max.request.size", "16000000");
        settings.put("buffer.memory", "134217728");
        settings.put("delivery.timeout.ms", "30000");
        settings.put("max.block.ms", "30000");
        return producers.computeIfAbsent(settings.toString(),
            unused -> new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer()));
    }

    void close() {
        producers.values().forEach(KafkaProducer::close);
    }
}
