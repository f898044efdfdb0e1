// One request of the runner: its fields by name, each with the type that the operation wants.

import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

import org.apache.kafka.common.TopicPartition;

final class Request {
    private final Map<?, ?> fields;

    Request(Object json) {
        fields = (Map<?, ?>) json;
    }

    boolean isNull(String name) {
        return fields.get(name) == null;
    }

    Object any(String name) {
        Object value = fields.get(name);
        if (value == null) {
            throw new IllegalArgumentException("the request has no field " + name);
        }
        return value;
    }

    String text(String name) {
        return (String) any(name);
    }

    long number(String name) {
        return ((Number) any(name)).longValue();
    }

    int count(String name) {
        return Math.toIntExact(number(name));
    }

    boolean flag(String name) {
        return Boolean.TRUE.equals(fields.get(name));
    }

    List<?> list(String name) {
        return isNull(name) ? List.of() : (List<?>) any(name);
    }

    /** Bytes, which are base64 in JSON; null is null. */
    byte[] bytes(String name) {
        return isNull(name) ? null : decoded(text(name));
    }

    Map<String, String> texts(String name) {
        Map<String, String> texts = new HashMap<>();
        if (!isNull(name)) {
            ((Map<?, ?>) any(name)).forEach((key, value) -> texts.put((String) key, value.toString()));
        }
        return texts;
    }

    TopicPartition partition() {
        return new TopicPartition(text("topic"), count("partition"));
    }

    static byte[] decoded(Object base64) {
        return base64 == null ? null : Base64.getDecoder().decode((String) base64);
    }

    static String encoded(byte[] bytes) {
        return bytes == null ? null : Base64.getEncoder().encodeToString(bytes);
    }
}
